"""One net against itself: how far chance moves a run, by source, and that the tests do not tell a net from itself."""

import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import evaluated, tiny, trained
from fake_study import alter, make_run
from reading import by_first, rows_of, tables_of
from scipy import stats

from benchmarks.calibration import cuts as noise
from benchmarks.calibration import real_runs as report
from benchmarks.calibration.cuts import FAMILY, PAIR, Floor
from harness.files import hash_json
from harness.report.isolation import compare as prove
from harness.report.isolation import identity
from harness.report.runs import read_results
from harness.settings.load import load_study
from harness.settings.study import Study

ROOT = Path(__file__).parent.parent
IMAGES = 2000


def answers(rng: np.random.Generator, runs: int, common: float, chance: float = 0.2) -> np.ndarray:
    """Wrong answers (runs, images): each image wrong by itself with `chance`, which a run moves by `common` points."""
    share = chance + rng.normal(0, common / 100, (runs, 1))
    return np.asarray(rng.random((runs, IMAGES)) < share)


# ---- the floor


def test_the_floor_is_what_its_definition_gives_by_brute_force() -> None:
    wrong = answers(np.random.default_rng(0), 7, 3.0)
    found = noise.floor(wrong)
    errors = 100 * wrong.mean(1)
    assert (found.runs, found.images) == (7, IMAGES)
    assert found.mean == pytest.approx(errors.mean())
    assert found.sd == pytest.approx(np.std(errors, ddof=1))
    covariance = np.cov(wrong.T.astype(float))
    assert found.flips**2 == pytest.approx(1e4 * np.trace(covariance) / IMAGES**2)
    assert found.common**2 == pytest.approx(1e4 * (covariance.sum() - np.trace(covariance)) / IMAGES**2)
    pairs = [100 * (one != other).mean() for one, other in itertools.combinations(wrong, 2)]
    assert found.disagree == pytest.approx(np.mean(pairs))
    assert found.binomial == pytest.approx(100 * math.sqrt(wrong.mean() * (1 - wrong.mean()) / IMAGES))
    assert found.sd_on(IMAGES) == pytest.approx(found.sd)


def test_a_planted_floor_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [noise.floor(answers(rng, 20, 0.8)) for _ in range(60)]
    assert np.mean([f.common**2 for f in found]) == pytest.approx(0.8**2, rel=0.12)
    # An image that is wrong with chance .2 by itself: the binomial sd.
    assert np.mean([f.flips for f in found]) == pytest.approx(100 * math.sqrt(0.2 * 0.8 / IMAGES), rel=0.01)
    assert np.mean([f.low <= math.hypot(0.8, 0.894) <= f.high for f in found]) >= 0.85
    alone = [noise.floor(answers(rng, 20, 0.0)) for _ in range(20)]
    assert np.mean([f.sd for f in alone]) == pytest.approx(alone[0].binomial, rel=0.1)


def test_the_interval_of_an_sd_is_chi_square() -> None:
    # The gears of NIST's e-Handbook of Statistical Methods, 1.3.5.8, with the critical values that it prints.
    low, high = noise.sd_interval(0.6278908e-2, 99)
    assert low == pytest.approx(0.6278908e-2 * math.sqrt(99 / 128.422), rel=1e-5)
    assert high == pytest.approx(0.6278908e-2 * math.sqrt(99 / 73.361), rel=1e-5)
    values = np.random.default_rng(3).normal(0, 2, (4000, 20)).std(1, ddof=1)
    ends = np.array([noise.sd_interval(sd, 19) for sd in values])
    assert ((ends[:, 0] <= 2) & (ends[:, 1] >= 2)).mean() == pytest.approx(0.95, abs=0.012)


def spread(sd: float, runs: int = 20) -> Floor:
    return Floor(runs, IMAGES, 20, sd, sd, sd, 0.9, 0.5, 0.5, 10)


def test_variances_that_add_up_have_a_ratio_of_one() -> None:
    found = noise.added([spread(3), spread(4)], spread(5))
    assert found.ratio == pytest.approx(1)
    assert found.low < 1 < found.high
    # Equal variances: Satterthwaite's degrees of freedom are the sum.
    found = noise.added([spread(1)] * 4, spread(1))
    assert found.ratio == pytest.approx(4)
    assert found.low == pytest.approx(4 / stats.f.ppf(0.975, 76, 19))
    assert found.high == pytest.approx(4 / stats.f.ppf(0.025, 76, 19))


# ---- the net against itself


@pytest.mark.parametrize(("runs", "arms"), [(20, 4), (23, 4), (9, 2)])
def test_every_arm_of_a_cut_has_other_runs(runs: int, arms: int) -> None:
    found = noise.cuts(np.random.default_rng(0), runs, arms, 50)
    assert found.shape == (50, runs // arms, arms)
    for cut in found:
        assert len(set(cut.flat)) == cut.size
    assert set(found.flat) == set(range(runs))
    assert len({cut.tobytes() for cut in found}) == 50


def test_a_net_that_differs_from_nothing_is_told_from_itself_as_often_as_alpha_says() -> None:
    found = noise.simulated(np.random.default_rng(5), 20, PAIR, "paired_t", 0.05, 100, 400)
    assert found.below[:, 0].mean() == pytest.approx(0.05, abs=0.01)
    assert found.below.mean(0) == pytest.approx(np.arange(1, 21) / 20, abs=0.02)
    family = noise.simulated(np.random.default_rng(6), 20, FAMILY, "block", 0.05, 100, 200)
    assert family.family.mean() == pytest.approx(0.05, abs=0.015)


def test_what_cuts_are_worth_is_read_from_how_simulated_sets_scatter() -> None:
    reference = noise.simulated(np.random.default_rng(7), 20, PAIR, "paired_t", 0.05, 200, 300)
    own = noise.simulated(np.random.default_rng(8), 20, PAIR, "paired_t", 0.05, 200, 1)
    found, many = (noise.against([own] * sets, reference, PAIR, "paired_t", 20, 200) for sets in (1, 5))
    expected = reference.below[:, 0].mean()
    assert found.worth == pytest.approx(expected * (1 - expected) / reference.below[:, 0].var(ddof=1))
    # Over cuts of the same normal errors a t test is nearly a permutation test: each cut tells almost a cut's worth.
    assert found.worth == pytest.approx(200, rel=0.3)
    assert found.low[0] < 0.05 < found.high[0]
    assert found.worth is not None
    assert many.worth is not None
    assert many.worth > 3 * found.worth, "several sets of runs know more"
    assert many.high[0] - many.low[0] < found.high[0] - found.low[0]
    # An interval of a share that is worth 400 is Wilson's.
    wilson = stats.binomtest(20, 400).proportion_ci(method="wilson")
    step = 0.05**0.5 * 0.95**0.5 / 20
    like = noise.Shares(np.tile(np.array([[0.05 - step], [0.05 + step]]), (500, 20)), np.full(1000, 0.05))
    made = noise.against([noise.Shares(np.full((1, 20), 0.05), np.full(1, 0.05))], like, PAIR, "paired_t", 20, 1)
    assert made.worth == pytest.approx(400, rel=0.01)
    assert (made.share_low, made.share_high) == pytest.approx((wilson.low, wilson.high), abs=3e-4)


def test_runs_that_are_not_as_simulated_are_told() -> None:
    # One run is so far off that it alone makes mean and sd of every difference: t is 1 or -1, p never small.
    errors = np.array([*np.random.default_rng(11).normal(20, 0.01, 19), 60.0])
    cuts = noise.cuts(np.random.default_rng(12), 20, 2, 200)
    own = noise.by_the_report(errors[cuts], "paired_t", 0.05)
    reference = noise.simulated(np.random.default_rng(13), 20, PAIR, "paired_t", 0.05, 200, 200)
    found = noise.against([own], reference, PAIR, "paired_t", 20, 200)
    assert found.share == 0
    assert found.family == 0
    assert found.distance_p == pytest.approx(1 / 201)


# ---- the same seed twice, for real


def test_runs_of_the_held_seed_are_equal_to_the_bit_whatever_follows_it(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    kinds = ("all", "initial_weights", "batch_order", "augmentation", "dropout")
    runs = [trained(tiny(vary=kind, epochs=1), packed, tmp_path / kind) for kind in kinds]
    assert len({run.fingerprint for run in runs}) == 5, "no run is taken for another"
    metrics = [evaluated(run, packed) for run in runs]
    for run, own in zip(runs, metrics, strict=True):
        assert (run.hashes, own) == (runs[0].hashes, metrics[0])


# ---- the section

TEXT = """
name: noise
title: How far does chance move a run?
purpose: One net, again and again.
data: {source: fashion-mnist-8k}
seeds: SEEDS
baseline: all
family: []
settings: {preset: [paper, small], width: 0.5, colour: 0, epochs: 3}
factors: {initial-weights: {vary: initial_weights}, batch-order: {vary: batch_order}, dropout: {vary: dropout}}
plan: [{kind: one_factor}]
"""


def make(root: Path, seeds: int = 8) -> Study:
    path = root / report.STUDY
    path.parent.mkdir(parents=True)
    path.write_text(TEXT.replace("SEEDS", str(list(range(seeds)))))
    return load_study(path)


def fill(study: Study, root: Path, common: float = 0.5) -> None:
    """Results of every cell, with planted answers; those with the held seed are of one end."""
    rng = np.random.default_rng(15)
    held = answers(rng, 1, 0)[0]
    for cell in study.cells:
        wrong = answers(rng, 1, common)[0] if cell.seed else held
        folder = root / cell.results
        values: dict[str, Any] = {"metrics__test_top1": 100 * float(wrong.mean())}
        if not cell.seed:
            values |= {"provenance__hashes__weights": "w" * 64, "provenance__hashes__losses": "l" * 64}
        make_run(folder, study.variants[cell.variant], cell.seed, **values)
        table = pa.table({"index": np.arange(IMAGES, dtype=np.int32), "correct": ~wrong})
        pq.write_table(table, folder / "eval/predictions.parquet")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report.compared, "__defaults__", (4, 10))


def test_without_a_study_or_its_runs_the_section_has_no_table(tmp_path: Path) -> None:
    for prepare in (lambda root: None, make):
        prepare(tmp_path)
        said = "\n".join(report.section(tmp_path, tmp_path / "out"))
        assert (bool(said), tables_of(said)) == (True, [])
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("quick")
def test_the_section_shows_the_planted_floor(tmp_path: Path) -> None:
    study = make(tmp_path)
    fill(study, tmp_path)
    out = tmp_path / "reports" / "calibration"
    said = "\n".join(report.section(tmp_path, out))
    shown = by_first(tables_of(said)[0])
    floors = {row["source"]: row for row in rows_of(out / "noise.csv")}
    assert list(floors) == ["all", "initial-weights", "batch-order", "dropout"]
    for name, row in floors.items():
        runs = read_results(study, None, tmp_path).finished(name).values()
        errors = [run.metrics["test_top1"] for run in runs]
        assert float(row["sd"]) == pytest.approx(np.std(errors, ddof=1), rel=1e-5)
        own = shown[name]
        assert own[1] == "8"
        assert [float(cell) for cell in own[2:4]] == pytest.approx([np.mean(errors), np.std(errors, ddof=1)], rel=0.06)
    pairs = rows_of(out / "aa.csv")
    assert {row["source"] for row in pairs} == {*floors, report.ALL}
    assert {(row["design"], row["test"]) for row in pairs} == {(d.name, t) for d in (PAIR, FAMILY) for t in d.tests}
    assert len([row for row in pairs if row["source"] == "all" and row["test"] == "block"]) == 20
    assert all((out / name).stat().st_size > 5000 for name in ("noise.svg", "aa.svg"))
    again = [p.read_bytes() for p in sorted(out.iterdir())]
    assert "\n".join(report.section(tmp_path, out)) == said
    assert [p.read_bytes() for p in sorted(out.iterdir())] == again


@pytest.mark.usefixtures("quick")
def test_missing_runs_are_counted_and_too_few_are_not_cut_and_runs_of_one_seed_that_differ_are_told(
    tmp_path: Path,
) -> None:
    study = make(tmp_path)
    fill(study, tmp_path)
    same = report.twins(study, read_results(study, None, tmp_path), tmp_path)
    path = tmp_path / study.folder / "runs" / "dropout-0" / "train/provenance.json"
    alter(path, lambda values: values["hashes"].update(weights="x" * 64))
    assert report.twins(study, read_results(study, None, tmp_path), tmp_path) != same
    for seed in range(3, 8):
        shutil.rmtree(tmp_path / study.folder / "runs" / f"dropout-{seed}")
    said = "\n".join(report.section(tmp_path, tmp_path / "out"))
    assert by_first(tables_of(said)[0])["dropout"][1] == "3 of 8"
    assert "dropout" not in {row["source"] for row in rows_of(tmp_path / "out" / "aa.csv")}


def test_runs_made_again_differ_by_exactly_nothing(tmp_path: Path) -> None:
    study = make(tmp_path)
    fill(study, tmp_path)
    results = read_results(study, None, tmp_path)
    own = results.finished("all")
    one: dict[str, Any] = {
        "verified": True, "epochs": 3, "of": 3, "when": "2026-01-01T00:00:00Z", "commit": None, "dirty": None,
        "here": True, "machine": {}, "versions": {}, "agrees": ["final weights"], "differs": [], "first_epoch": None,
        "cause": "",
    }  # fmt: skip
    found = {f"all-{seed}": one | {"record": identity(run.fingerprint, run.hashes)} for seed, run in own.items()}
    found["all-1"] |= {"verified": False}
    found["all-2"] |= {"record": "of another run"}
    found["all-3"] |= {"epochs": 1}
    (tmp_path / study.folder / "verified.json").write_text(json.dumps(found))
    twin = report.twins(study, results, tmp_path)
    assert (twin.again, twin.sound) == (6, 5)
    c = twin.comparison
    assert c is not None
    assert c.difference.seeds == (0, 4, 5, 6, 7)
    assert c.difference.values == (0.0,) * 5
    assert (c.difference.sd, c.difference.low, c.p, c.verdict) == (0.0, None, None, "inconclusive")


def test_what_a_row_holds_is_no_undeclared_change(tmp_path: Path) -> None:
    study = make(tmp_path)
    fill(study, tmp_path)
    nets = study.variants["all"], study.variants["batch-order"]

    def pair(seed: int, **changes: Any) -> Any:
        make_run(tmp_path / study.folder / "runs" / f"batch-order-{seed}", nets[1], seed, **changes)
        results = read_results(study, None, tmp_path)
        runs = [results.finished(name)[seed] for name in ("all", "batch-order")]
        return prove(study.differences("batch-order"), nets, runs[0], runs[1])

    other = {"provenance__hashes__initial": {name: hash_json(name) for name in
             ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")}}  # fmt: skip
    moved = pair(3, provenance__hashes__augmentation="a" * 64, **other)
    assert moved.failures == []
    assert moved.moved == ["augmentation stream"]
    assert "conv1" in moved.initial_affected
    # The batch order follows the seed in both; with the held seed nothing may differ.
    assert pair(3, provenance__hashes__batch_order="b" * 64).failures == ["batch order differs"]
    failing = pair(0, provenance__hashes__augmentation="a" * 64, **other).failures
    assert "augmentation stream differs" in failing
    assert "initial weights of conv1 differ" in failing


# ---- the committed study


def test_the_declared_study_lets_each_source_go_alone_with_twenty_seeds() -> None:
    study = load_study(ROOT / report.STUDY)
    assert len(study.seeds) >= 20
    assert [s.vary for s in study.variants.values()] == [
        "all", "initial_weights", "batch_order", "augmentation", "dropout",
    ]  # fmt: skip
    assert all(list(study.differences(name)) == ["vary"] for name in study.variants if name != "all")


def test_the_committed_floor_is_that_of_the_committed_runs() -> None:
    study = load_study(ROOT / report.STUDY)
    sources = report.read_sources(study, read_results(study, None, ROOT))
    stored = rows_of(ROOT / "reports" / "calibration" / "noise.csv")
    made = report.floor_rows(sources, study.file.confidence)
    assert [{key: str(value) for key, value in row.items()} for row in made] == stored
    assert all(source.runs == source.declared for source in sources)
