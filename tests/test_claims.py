"""Every claim of the paper stands in the ledger, with a verdict from one rule, or with the reason why it has none."""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake_study import STUDY, make_results, make_study
from reading import Report, by_first, golden, tables_of, told
from ruamel.yaml import YAML
from scipy import stats
from typer.testing import CliRunner

from harness.claims import estimate, facts
from harness.claims.claim import claims_of, load_claims
from harness.claims.estimate import Crossing, NotMeasuredError
from harness.claims.finding import Ensemble, Evidence, Finding, Test
from harness.claims.ledger import ClaimRow, claim_row
from harness.claims.statistic import (
    ChromaTest,
    DifferenceTest,
    DropsTest,
    LevelRatioTest,
    RankingTest,
    SameRunTest,
    TimeRatioTest,
)
from harness.claims.verdict import VERDICTS, Estimate, Region, every_run, judge, side, signed, weakest
from harness.cli import app
from harness.errors import UserError
from harness.record import RunFolder, read_run
from harness.report.claims import LEDGER_COLUMNS
from harness.settings.load import load_study
from harness.settings.study import Study
from harness.statistics.judging import PROMISED

ROOT = Path(__file__).parent.parent
FILE = ROOT / "experiments" / "claims.yaml"
CLAIMS = load_claims(FILE)
INF = math.inf


@dataclass(frozen=True)
class FakeRun:
    """As much of a run as the statistics read."""

    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    images_hash: str = "images"
    provenance: Any = field(default_factory=lambda: SimpleNamespace(wall_seconds=86_400.0))
    hashes: Any = field(default_factory=lambda: SimpleNamespace(weights="weights"))


Seeds = Mapping[int, FakeRun]


def runs(name: str, *values: float) -> dict[int, FakeRun]:
    """A run a value, seeds from 0."""
    return {seed: FakeRun({name: value}) for seed, value in enumerate(values)}


def curve(name: str, *values: float) -> list[dict[str, float]]:
    return [{"epoch": epoch, name: value} for epoch, value in enumerate(values, 1)]


def curves(name: str, *rows: tuple[float, ...]) -> dict[int, FakeRun]:
    return {seed: FakeRun(history=curve(name, *row)) for seed, row in enumerate(rows)}


def half_width(values: list[float], confidence: float = 0.95) -> float:
    """Half of Student's interval of a mean, from the textbook."""
    return float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


# ---- the file


def test_every_claim_of_the_paper_is_declared() -> None:
    numbered = [f"C{number:02}" for number in range(1, 33)] + [f"A{number}" for number in range(1, 16) if number != 3]
    assert sorted(CLAIMS) == sorted([*numbered, "C10s", "C11h", "C11t", "C12c", "C16b", "C25b", "C25n"])


def test_every_claim_that_is_no_reference_has_a_test_and_its_variants_are_declared() -> None:
    assert [name for name, claim in CLAIMS.items() if claim.test is None] == ["C09"]
    studies = {study.name: study for study in map(load_study, (ROOT / "experiments").glob("*/study.yaml"))}
    for claim in CLAIMS.values():
        if isinstance(claim.test, Test):
            named = {*claim.test.names, *(claim.test.beside if isinstance(claim.test, DifferenceTest) else [])}
            assert named - set(studies[claim.test.study].variants) == set(), claim.id


def test_every_claim_gets_a_verdict_from_complete_runs_of_the_study_that_it_names() -> None:
    """A claim whose study can never decide it is no claim of that study's."""
    rows: dict[str, ClaimRow] = {}
    for path in sorted((ROOT / "experiments").glob("*/study.yaml")):
        study, runs = load_study(path), all_runs()
        whole = {v: {s: full_run(v, s) for s in study.seeds} for v in study.variants} | {
            v: {s: found for s, found in runs[v].items() if s in study.seeds} for v in study.variants if v in runs
        }
        ensembles = {name: ensemble(15.0, *name.split("+"), seeds=len(study.seeds)) for name in study.file.ensembles}
        own = {
            name: claim
            for name, claim in CLAIMS.items()
            if claim.test and getattr(claim.test, "study", "") == study.name
        }
        evidence = Evidence(study, whole, ensembles, {})  # type: ignore[arg-type]
        rows |= {name: claim_row(claim, evidence, " ".join) for name, claim in own.items()}
    assert set(rows) == {name for name, claim in CLAIMS.items() if isinstance(claim.test, Test)}
    reasons = {name: row.reason for name, row in rows.items() if row.verdict not in ("replicates", "contradicts")}
    few = {name for name, row in rows.items() if row.n and row.n < PROMISED}
    assert few == set()
    # Nobody's machine is that of 2012, and a time has no interval.
    assert set(reasons) == {"C11t", "C18", "C32"}, reasons


# ---- what is computed


def test_counts_are_those_of_the_net() -> None:
    share, counts = facts.conv_share(), facts.counts()
    assert (share.holds, counts.holds, counts.value) == (False, True, 60_965_224)
    assert share.value == pytest.approx(100 * 885_120 / 60_965_224)
    assert {"1.45", "1.09"} <= set(share.words.split())
    assert {"659,272", "622,312"} <= set(re.findall(r"[\d,]*\d", counts.words))
    assert (facts.label_bits().value, facts.conv1_side().value) == (pytest.approx(math.log2(1000)), 55)
    assert "2,048 views" in facts.crop_count()
    assert facts.ten_crops().count("(") == 5
    assert "59,798,312 parameters" in facts.one_gpu()


def test_what_is_computed_is_final() -> None:
    rows = rows_of(study_of(), {})
    final = {name: rows[name].verdict for name, claim in CLAIMS.items() if claim.type == "arithmetic"}
    assert final == {
        "C26": "contradicts", "C27": "replicates", "C28": "replicates", "A14": "replicates",
    }  # fmt: skip
    assert rows["C26"].command == "python -m harness claims C26"


# ---- statistics, against numbers from the hand


def measured(test: Test, runs: Mapping[str, Seeds]) -> Finding:
    """What a test finds in runs of variants."""
    return test.measure(Evidence(study_of(), runs, {}, {}))  # type: ignore[arg-type]


def test_differences_are_paired_by_seed_and_by_images() -> None:
    one, other = runs("test_top1", 22.0, 23.0, 25.0, 99.0), runs("test_top1", 21.0, 21.0, 22.0)
    difference = estimate.paired("x", one, other, lambda run: run.metrics["test_top1"], 0.95)
    assert (difference.value, difference.n) == (2.0, 3)
    assert difference.high == pytest.approx(2.0 + half_width([1, 2, 3]))
    moved = {**one, 0: replace(one[0], images_hash="others")}
    assert estimate.paired("x", moved, other, lambda run: run.metrics["test_top1"], 0.95).n == 2
    both = {
        seed: FakeRun({"test_top1_10crop": ten, "test_top1": centre})
        for seed, (ten, centre) in enumerate([(19.0, 20.0), (18.0, 20.0)])
    }
    test = SameRunTest(
        statistic="same_run", variants=["base"], metrics=["test_top1_10crop", "test_top1"], direction="less"
    )
    (crops,) = measured(test, {"base": both}).estimates
    assert (crops.value, crops.n, crops.low) == (-1.5, 2, pytest.approx(-1.5 - half_width([-1, -2])))
    assert estimate.metric(FakeRun({"test_top1": 20.0, "train_top1": 12.5}), "gap") == 7.5
    with pytest.raises(NotMeasuredError, match="train_top1"):
        estimate.metric(FakeRun({"test_top1": 20.0}), "gap")


def test_a_level_is_crossed_between_two_epochs() -> None:
    history = curve("train_top1", 80.0, 40.0, 20.0, 10.0)
    for level, crossing in ((30.0, Crossing(2.5, False)), (20.0, Crossing(3.0, False)), (90.0, Crossing(1, False))):
        assert estimate.crossing(history, "train_top1", level) == crossing
    assert estimate.crossing(history, "train_top1", 5.0) == Crossing(4, True)
    with pytest.raises(NotMeasuredError, match="clean_top1"):
        estimate.crossing(history, "clean_top1", 5.0)


def ratio(slow: Seeds, other: Seeds) -> Estimate:
    return estimate.level_ratio("tanh", slow, other, "train_top1", 20, 0.95)


def test_a_ratio_of_epochs_is_a_geometric_mean_over_pairs() -> None:
    slow = curves("train_top1", (90, 80, 70, 20), (90, 80, 70, 60, 50, 40, 30, 20))
    slower = ratio(slow, curves("train_top1", (90, 20), (90, 20)))
    assert slower.value == pytest.approx(math.sqrt(2 * 4))
    logs = [math.log(2), math.log(4)]
    assert slower.low == pytest.approx(math.exp(np.mean(logs) - half_width(logs)))


def test_a_level_that_is_never_reached_bounds_the_ratio_from_one_side_alone() -> None:
    six, seven = (90, 80, 70, 60, 50, 40), (90, 80, 70, 60, 50, 45, 40)
    never = curves("train_top1", six, seven, six, seven, six)
    fast = curves("train_top1", *[(90, 20)] * 5)
    bound = ratio(never, fast)
    assert bound.value == pytest.approx((3**3 * 3.5**2) ** 0.2)
    # The least of five ratios lies above the median of such ratios once in 32 times.
    assert (bound.low, bound.high) == (3, INF)
    few = ratio({s: never[s] for s in range(4)}, fast)
    assert (few.low, few.high, few.n, judge([few], Region(low=1))[0]) == (None, None, 4, "inconclusive")
    assert ratio(fast, never).low == 0
    with pytest.raises(NotMeasuredError):
        ratio(never, never)
    assert ratio({0: never[0], 1: never[0]}, {0: fast[0], 1: never[0]}).n == 1, "neither reaches it with seed 1"


def test_other_numbers_of_a_history() -> None:
    run = FakeRun(history=curve("train_loss", 2.0, 1.0, 0.6, 0.1))
    assert estimate.early_loss(run, 3) == pytest.approx(1.2)
    for short in (run, FakeRun(history=curve("train_loss", *[2.0] * 4, math.nan))):
        with pytest.raises(NotMeasuredError):
            estimate.early_loss(short, 5)
    fell = {0: FakeRun(history=curve("lr", 0.01, 0.01, 0.001, 0.001, 0.0001))}
    drops = measured(DropsTest(statistic="drops", variants=["x"], direction="more"), {"x": fell})
    assert (drops.estimates[0].value, drops.notes) == (2, ("x at epochs [3, 5]",))

    def timed(*seconds: float) -> dict[int, FakeRun]:
        return {seed: FakeRun(provenance=SimpleNamespace(wall_seconds=s)) for seed, s in enumerate(seconds)}

    test = TimeRatioTest(statistic="time_ratio", variants=["x"], against="base", direction="more", bound=1.0)
    times = measured(test, {"x": timed(10, 40), "base": timed(10, 10)})
    # Load is nothing that a seed draws: an interval over seeds would not be one.
    assert (times.weakest.value, times.weakest.low, times.verdict) == (pytest.approx(2.0), None, "inconclusive")


def ranking(order: list[str], **errors: Any) -> Finding:
    """The verdict on an order of variants with these errors, against a baseline of 20 %."""
    test = RankingTest(statistic="ranking", variants=order, against="base")
    named = {name: runs("test_top1", *values) for name, values in errors.items()}
    return measured(test, named | {"base": runs("test_top1", *[20.0] * len(next(iter(errors.values()))))})


def test_an_order_has_a_share_of_resamples_and_a_tau() -> None:
    errors = {"tanh": (26, 25, 24, 26, 25), "gpu": (22, 23, 22, 23, 22), "lrn": (21, 20, 21, 20, 21)}
    order = ranking(["tanh", "gpu", "lrn"], **errors)
    assert (order.weakest.value, order.weakest.n) == (1.0, 5)
    assert "tau +1.00" in order.text
    assert "tanh +5.20, gpu +2.40, lrn +0.60" in order.notes[0]
    turned = ranking(["lrn", "gpu", "tanh"], **errors)
    assert (turned.weakest.value, "tau −1.00" in turned.text) == (0.0, True)
    # A lead of seed 0 alone: it holds where that seed is drawn, in 1 - (4/5)^5 of all resamples.
    lead = ranking(["a", "b"], a=(21, 20, 20, 20, 20), b=(20,) * 5)
    assert lead.weakest.value == pytest.approx(1 - 0.8**5, abs=0.02)


def test_an_order_is_judged_step_by_step_and_not_by_how_often_it_holds() -> None:
    rng = np.random.default_rng(0)

    def order_of(*means: float, seeds: int = 5) -> Finding:
        errors = {f"v{place}": 20 + mean + rng.normal(size=seeds) for place, mean in enumerate(means)}
        return ranking(list(errors), **errors)

    assert order_of(30, 20, 10).verdict == "replicates"
    wrong = order_of(20, 30, 10)
    assert (wrong.verdict, "v0 less v1" in wrong.reason) == ("contradicts", True)
    # Four equal arms: a given order holds in few resamples, and nothing contradicts it.
    equal = [order_of(0, 0, 0, 0) for _ in range(40)]
    assert sum(finding.verdict == "contradicts" for finding in equal) <= 5
    assert np.mean([finding.weakest.value for finding in equal]) < 0.3
    assert order_of(30, 20, 10, seeds=1).verdict == "inconclusive"


def test_colour_is_looked_at_in_every_run() -> None:
    split = {
        seed: FakeRun({"conv1_chroma_column1": a, "conv1_chroma_column2": b, "conv1_chroma_p": p})
        for seed, (a, b, p) in enumerate([(0.1, 0.6, 0.01), (0.7, 0.2, 0.002), (0.3, 0.4, 0.4)])
    }
    found = measured(ChromaTest(statistic="chroma", variants=["base"]), {"base": split})
    assert found.weakest.value == pytest.approx(2 / 3)
    assert (found.weakest.low, found.weakest.high) == pytest.approx((0.0943, 0.9916), abs=1e-4)  # Clopper and Pearson's
    assert found.text.startswith("2 of 3 runs")
    assert "0.367" in found.notes[0]
    assert (estimate.share("x", 0, 3, 0.95).low, estimate.share("x", 3, 3, 0.95).high) == (0.0, 1.0)


# ---- the verdict


def test_the_verdict_is_where_the_interval_lies() -> None:
    above, below, within = Region(low=0), Region(high=0), Region(-0.5, 0.5)
    for low, high, region, verdict in (
        (0.1, 2.0, above, "replicates"),
        (0.0, 2.0, above, "inconclusive"),  # touches the bound
        (-2.0, -0.1, above, "contradicts"),
        (0.1, 2.0, below, "contradicts"),
        (0.5, 2.0, Region(low=1), "inconclusive"),  # above zero, and still not more than claimed
        (-0.4, 0.4, within, "replicates"),
        (-0.6, 0.6, within, "inconclusive"),  # wider than the margin
        (0.6, 0.9, within, "contradicts"),
        (2.0, INF, Region(low=1), "replicates"),  # bounded from one side alone
        (2.0, INF, Region(3, 12), "inconclusive"),
        (13.0, INF, Region(3, 12), "contradicts"),
        (None, None, above, "inconclusive"),
    ):
        number = Estimate("x", 1.0, low, high, 5)
        assert side(number, region) == judge([number], region)[0] == verdict, (low, high, region)
    assert [signed(number) for number in (-0.001, 0.001, -0.1)] == ["+0.00", "+0.00", "−0.10"]


def test_of_several_parts_all_must_replicate_and_one_contradicts() -> None:
    good, vague, bad = (Estimate(n, 0, a, b, 5) for n, a, b in (("g", 1, 2), ("v", -1, 1), ("b", -2, -1)))
    region = Region(low=0)
    assert judge([good, good], region)[0] == "replicates"
    assert judge([good, vague], region)[0] == "inconclusive"
    verdict, reason = judge([good, vague, bad], region)
    assert (verdict, "(b)" in reason) == ("contradicts", True)
    assert weakest([good, vague, bad], region) is bad


def test_what_must_be_seen_in_every_run_is_seen_in_all_of_them() -> None:
    cases = {(5, 5): "replicates", (1, 1): "inconclusive", (4, 5): "inconclusive", (0, 5): "inconclusive"}
    for (held, n), verdict in (cases | {(0, 6): "contradicts"}).items():
        assert every_run(held, n, estimate.share("x", held, n, 0.95).high or 0.0)[0] == verdict, (held, n)


# ---- the ledger on made-up runs


VARIANTS = sorted({name for claim in CLAIMS.values() if isinstance(claim.test, Test) for name in claim.test.names})


def study_of(source: str = "cifar10", seeds: int = 5, geometry: str = "small", **data: Any) -> Study:
    """As much of a study as the ledger reads, with every variant that a claim names."""
    settings = SimpleNamespace(geometry=geometry, pretrained="")
    file = SimpleNamespace(metric="test_top1", confidence=0.95)
    known: Any = SimpleNamespace(
        name="all", path=Path("experiments/all/study.yaml"), baseline="base", seeds=list(range(seeds)), file=file,
        data=SimpleNamespace(**({"source": source, "release": ""} | data)), variants=dict.fromkeys(VARIANTS, settings),
        differences=lambda name: {"activation": (), "lr": ()} if name == "tanh" else {"x": ()},
    )  # fmt: skip
    return known  # type: ignore[no-any-return]


METRICS: dict[str, float] = {
    "test_top1": 20.0, "test_top1_10crop": 18.0, "test_top5": 2.0, "test_top5_10crop": 1.5, "train_top1": 4.0,
    "validation_top1": 20.01, "test_top1_mc_geometric": 20.1, "test_top1_mc_arithmetic": 20.3, "fc7_precision6": 0.7,
    "pixels_precision6": 0.4, "conv1_chroma_column1": 0.1, "conv1_chroma_column2": 0.5, "conv1_chroma_p": 0.001,
}  # fmt: skip


def full_run(name: str, seed: int, effect: float = 0.0, speed: float = 1.0) -> FakeRun:
    """A run that holds all that any claim reads; `effect` moves its errors, `speed` its curves."""
    noise = float(np.random.default_rng([seed, zlib.crc32(name.encode())]).normal(0, 0.02))
    metrics = {
        name: value + (effect + noise * (1 + 0.1 * place) if name.startswith("test") else noise * (1 + place) / 100)
        for place, (name, value) in enumerate(METRICS.items())
    }
    metrics["conv1_chroma_p"] = 0.001
    history = [
        {
            "epoch": epoch, "lr": 0.01 * 0.1 ** sum(epoch > d for d in (10, 20, 30)),
            **{c: 90 * math.exp(-(0.1 + noise / 10) * speed * epoch) for c in ("train_top1", "clean_top1")},
            "train_loss": 2.3 * math.exp(-0.1 * speed * epoch) + noise / 10,
        }
        for epoch in range(1, 200)
    ]  # fmt: skip
    return FakeRun(metrics, history, provenance=SimpleNamespace(wall_seconds=100.0 * math.exp(noise)))


def rows_of(study: Study, runs: Mapping[str, Seeds], ensembles: Any = None) -> dict[str, ClaimRow]:
    known: Any = {name: runs.get(name, {}) for name in study.variants}
    evidence = Evidence(study, known, ensembles or {}, {})
    rows = [claim_row(claim, evidence, " ".join) for claim in CLAIMS.values()]
    return {row.claim.id: row for row in rows}


def all_runs() -> dict[str, dict[int, FakeRun]]:
    """Runs of every variant in which every claim on the direction of an effect comes out as the paper says."""
    effects = {name: 0.0 if re.match(r"a\d", name) else 1.5 for name in VARIANTS}
    effects |= {"base": 0.0, "wide": -1.0, "long": -1.0, "conv6-pretrained": -1.7, "no-colour": 2.0}
    effects |= {"tanh": 4.0, "one-gpu": 3.0, "no-lrn": 2.0, "no-overlap": 1.0, "cifar-13pct-lrn": 0.0}
    speeds = {"no-dropout": 2.0} | dict.fromkeys(["bias-0", "tanh", "tanh-scaled", "logistic"], 0.5)
    speeds |= {name: 6.0 for name in VARIANTS if name.startswith("relu-fit")}
    found = {v: {s: full_run(v, s, effects[v], speeds.get(v, 1.0)) for s in range(5)} for v in VARIANTS}
    for seed, run in found["no-decay"].items():
        found["no-decay"][seed] = replace(
            run, metrics=run.metrics | {"train_top1": 5.0 + run.metrics["train_top1"] / 10}
        )
    return found


def ensemble(error: float, *variants: str, seeds: int = 5) -> Ensemble:
    weights = {f"{variant}-{seed}": "weights" for variant in variants for seed in range(seeds)}
    return Ensemble(test_top1=error, test_top1_10crop=error, made_of={"weights": weights})


ENSEMBLES = {
    "base": ensemble(18.5, "base"),
    "base+conv6-pretrained": ensemble(15.0, "base", "conv6-pretrained"),
}


def test_every_claim_gets_its_verdict_from_runs_that_hold_what_it_needs() -> None:
    rows = rows_of(study_of(), all_runs(), ENSEMBLES)
    untested = {name for name, row in rows.items() if row.verdict == "not testable here"}
    needy = {n for n, c in CLAIMS.items() if {"imagenet", "ilsvrc2010", "hardware_2012"} & set(c.needs)}
    assert untested == needy | {"C09"}
    verdicts = {name: row.verdict for name, row in rows.items() if name not in untested}
    assert {n: v for n, v in verdicts.items() if v != "replicates"} == {"C18": "inconclusive", "C26": "contradicts"}


def test_the_paper_s_own_images_make_the_rest_testable() -> None:
    study = study_of("imagenet", geometry="imagenet", release="ilsvrc2010")
    verdicts = {name: row.verdict for name, row in rows_of(study, all_runs(), ENSEMBLES).items()}
    assert verdicts["C01"] == "contradicts", "18 % is not 37.5 %"
    assert verdicts["C07"] == verdicts["C24"] == "replicates"
    assert verdicts["C32"] == verdicts["C08"] == "not testable here", "a GTX 580, and Fall 2009"


def test_a_claim_on_overfitting_is_not_tested_on_a_net_that_does_not() -> None:
    runs = all_runs()
    fitting = {s: replace(run, metrics=run.metrics | {"train_top1": 15.0}) for s, run in runs["no-dropout"].items()}
    row = rows_of(study_of(), runs | {"no-dropout": fitting})["C19"]
    assert row.verdict == "not testable here"
    assert "15.0 %" in row.reason
    assert row.estimates[0].value is not None, "measured and shown, without a verdict"
    assert rows_of(study_of(), runs)["C19"].verdict == "replicates"


def test_what_is_not_there_is_said() -> None:
    runs, lacking = all_runs(), study_of()
    lacking.variants.pop("bias-0")
    bare = {s: replace(run, metrics={"test_top1": 20.0}) for s, run in runs["base"].items()}
    for claim, rows, word in (
        ("C29", rows_of(study_of("fashion-mnist-8k"), runs, ENSEMBLES), "fashion-mnist-8k"),
        ("C23", rows_of(lacking, runs), "bias-0"),
        ("C12", rows_of(study_of(), runs | {"base": {}}), "base"),
        ("C21", rows_of(study_of(), runs | {"base": bare}), "test_top1_mc_geometric"),
        ("C04", rows_of(study_of(), runs), "base"),
        ("C04", rows_of(study_of(), runs, {"base": ensemble(18.5, "base", seeds=2)}), "harness ensemble"),
    ):
        assert word in rows[claim].reason, claim
        assert rows[claim].verdict in ("not testable here", "inconclusive"), claim
    assert rows_of(lacking, runs)["C23"].command == ""


def test_a_variant_of_several_settings_is_said_to_be_one() -> None:
    rows = rows_of(study_of(), all_runs())
    assert [name for name, row in rows.items() if "Variant tanh changes 2 settings at once" in row.reason] == [
        "C10s",
        "C15",
    ]


def test_one_seed_decides_nothing() -> None:
    one = {name: {0: seeds[0]} for name, seeds in all_runs().items()}
    rows = rows_of(study_of(), one, {"base": ensemble(18.5, "base", seeds=1)}).values()
    measured = [row for row in rows if row.verdict != "not testable here" and row.claim.type != "arithmetic"]
    assert len(measured) > 20
    assert {row.verdict for row in measured} == {"inconclusive"}


def test_the_published_number_of_the_compared_error_is_held_against_the_interval() -> None:
    rows, study = rows_of(study_of(), all_runs()), study_of()
    study.file.metric = "test_top5"
    top5 = rows_of(study, all_runs())
    for own, claim, number in ((rows, "C12", "1.4"), (rows, "C10", "6"), (top5, "C12", "1.2"), (top5, "C10", "6")):
        assert f"published {number} lies" in own[claim].reason
    # Of several parts each has its interval: here three levels, and four layers that cost 1.5 points.
    parts = [f"base at {level}" for level in (50, 25, 10)]
    assert f"published 2 lies inside our interval of {', '.join(parts)}" in rows["C20"].reason
    assert "published 2 lies above our interval of no-conv2, no-conv3, no-conv4, no-conv5" in rows["C25"].reason
    assert "published" not in top5["C12c"].reason, "of the difference on CIFAR-10 no top-5 error is published"
    # More than one point of top-1 error: nothing of the kind is claimed of top-5.
    assert top5["C17"].verdict == "not testable here"


# ---- the report


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Report]:
    """The fake study with its results, an ensemble, and its report with a ledger."""
    root = tmp_path_factory.mktemp("claims")
    study = make_study(root, STUDY + "claims: experiments/claims.yaml\n")
    (root / "experiments" / "claims.yaml").write_text(FILE.read_text())
    make_results(study, root)
    folders = [RunFolder.of(root / cell.results) for cell in study.cells if cell.variant == "base"]
    weights = {f"base-{run.seed}": run.hashes.weights for run in map(read_run, folders)}
    ensembles = {"base": {"test_top1": 19.0, "test_top1_10crop": 18.4, "made_of": {"weights": weights}}}
    (root / study.folder / "ensembles.json").write_text(json.dumps(ensembles))
    return study, told(study, root)


def test_the_pages_have_a_row_for_every_claim(reported: tuple[Study, Report]) -> None:
    study, report = reported
    golden("claims.md", report.page)
    tested, untested = (by_first(table) for table in tables_of((report.folder / "claims.md").read_text()))
    rows = {row["claim"]: row for row in report.csv("ledger")}
    assert list(rows) == list(CLAIMS)
    assert {**tested, **untested}.keys() == rows.keys()
    assert untested.keys() == {name for name, row in rows.items() if row["verdict"] == "not testable here"}
    assert {name: cells[6].strip("*") for name, cells in tested.items()} == {n: rows[n]["verdict"] for n in tested}
    assert (rows["C26"]["verdict"], rows["C04"]["verdict"]) == ("contradicts", "replicates")
    counts = Counter(row["verdict"] for name, row in rows.items() if CLAIMS[name].stated)
    (line,) = [line for line in report.page.splitlines() if f"]({study.name}/claims.md))" in line]
    assert [int(n) for n in re.findall(r"\d+", line)][:4] == [counts[verdict] for verdict in VERDICTS]


def test_the_ledger_s_table_holds_every_digit(reported: tuple[Study, Report]) -> None:
    rows = {row["claim"]: row for row in reported[1].csv("ledger")}
    assert list(rows["C13"]) == LEDGER_COLUMNS
    variant = {row["variant"]: row for row in reported[1].csv("variants")}["no-overlap"]
    ours = [float(rows["C13"][name]) for name in ("ours", "low", "high")]
    assert ours == pytest.approx([float(variant[name]) for name in ("difference", "low", "high")])
    assert rows["C13"]["n"] == "5"
    assert rows["C13"]["command"] == "harness run components --force --only no-overlap,base"
    assert rows["C01"]["published"] == "top-1: 37.5 %; top-5: 17.0 %"
    assert rows["C27"]["published"] == "parameters: 60,000,000; neurons: 650,000"


def test_a_study_that_names_no_claims_has_an_empty_ledger(tmp_path: Path) -> None:
    report = told(make_study(tmp_path), tmp_path)
    assert report.csv("ledger") == []
    assert tables_of((report.folder / "claims.md").read_text()) == []
    assert "claims.md" not in report.page


# ---- mistakes


ENTRY: dict[str, Any] = {
    "section": "3.3", "claim": "It helps.", "published": [{"name": "top-1", "value": 1.4}], "behind": "a run",
    "type": "difference", "scale": "any", "needs": ["any"], "caveat": "None.",
    "test": {"statistic": "difference", "variants": ["no-lrn"], "against": "base", "direction": "more"},
}  # fmt: skip


def write(path: Path, claims: Any) -> Path:
    with path.open("w") as file:
        YAML(typ="safe").dump(claims, file)
    return path


def changed_test(**changes: Any) -> dict[str, Any]:
    return {"test": {k: v for k, v in (ENTRY["test"] | changes).items() if v is not None}}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"sections": "3.3"}, ["C12", "unknown setting 'sections'", "section"]),
        ({"type": "guess"}, ["type: got 'guess'", "ranking"]),
        ({"needs": ["color"]}, ["needs: got 'color'", "colour"]),
        ({"published": [{"name": "top-1", "value": "1.4"}]}, ["published.0.value: got '1.4'", "a number"]),
        ({"computed": ["conv_shares"]}, ["computed: got 'conv_shares'", "crop_count"]),
        (changed_test(statistic="diference"), ["statistic: got 'diference'", "did you mean difference"]),
        (changed_test(variants=["No LRN"]), ["test: variants: got 'No LRN'", "a string like"]),
        (changed_test(variants=["base"]), ["base is a duplicate"]),
        (changed_test(against=None), ["against: missing"]),
        (changed_test(direction="up"), ["direction: got 'up'", "more, less, equal"]),
        (changed_test(direction="equal"), ["margin: got None", "a number > 0"]),
        (changed_test(statistic="time_ratio", direction="equal", margin=0.5), ["a factor > 1"]),
        ({"test": {"statistic": "arithmetic", "fact": "weight"}}, ["fact: got 'weight'"]),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path: Path, changes: dict[str, Any], parts: list[str]) -> None:
    path = write(tmp_path / "claims.yaml", {"C12": ENTRY | changes})
    with pytest.raises(UserError) as error:
        load_claims(path)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    for part in [str(path), "C12", *parts]:
        assert part in line


def test_a_study_is_checked_against_the_claims_that_it_names(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    assert claims_of(study, tmp_path) == {}
    study = replace(study, file=study.file.model_copy(update={"claims": "claims.yaml"}))
    with pytest.raises(UserError, match=r"claims\.yaml: no such file"):
        claims_of(study, tmp_path)
    write(tmp_path / "claims.yaml", {"C23": ENTRY | changed_test(variants=["bias-0"])})
    assert list(claims_of(study, tmp_path)) == ["C23"]


def test_the_command_prints_claims_and_a_study_s_verdicts(
    reported: tuple[Study, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    def claims(*words: str) -> str:
        done = CliRunner().invoke(app, ["claims", *words], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    rows = {row["claim"]: row for row in reported[1].csv("ledger")}
    monkeypatch.chdir(reported[1].path.parent.parent)
    lines = claims("C26", "C12", "experiments/study.yaml").splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"{name}  {rows[name]['verdict']}" for name in ("C26", "C12")]
    assert claims("c26", "C12", "components").splitlines() == lines
    monkeypatch.chdir(ROOT)
    assert claims("c26", "C12") == claims("C26", "C12")
    assert re.findall(r"(?m)^([AC]\d+\w?)  ", claims("C26", "C12")) == ["C26", "C12"]
    with pytest.raises(UserError, match=r"got 'C99'.*C26, .*as-run, "):
        claims("C99")


def test_an_arm_with_a_grid_is_the_variant_of_least_validation_error() -> None:
    """C10: each arm with its own best rate, chosen on validation images, and what the choice cost."""
    test = CLAIMS["C10"].test
    assert isinstance(test, LevelRatioTest)
    assert set(test.names) == {f"{arm}-fit-{rate}" for arm in ("tanh", "relu") for rate in ("0003", "001", "003", "01")}

    def arm(validation: float, *training: float) -> dict[int, FakeRun]:
        return dict.fromkeys((0, 1), FakeRun({"validation_top1": validation}, curve("train_top1", *training)))

    grid = {name: arm(50, 90, 24) for name in test.names}
    grid["relu-fit-003"] = arm(20, 90, 20)  # reaches 25 % in the second epoch
    grid["tanh-fit-001"] = arm(30, 90, 80, 70, 60, 50, 40, 30, 20)
    finding = measured(test, grid)
    assert all(word in finding.notes[0] for word in ("tanh-fit is tanh-fit-001", "30.0 %", "8 runs", "192.0 h"))
    assert "relu-fit is relu-fit-003" in finding.notes[1]
    assert finding.weakest.value == pytest.approx(7.5 / (1 + 65 / 70))
