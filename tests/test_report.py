"""The report shows every declared run, claims no more than its verdicts, and is the same each time."""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_study import EFFECTS, IMAGES, alter, diverge, make_results, make_run, make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from own_studies import OWN
from reading import Report, by_first, golden, section, tables_of, told, warnings_of

from harness.data.notes import Note, claim
from harness.errors import UserError
from harness.files import write_json
from harness.identity.known import identity
from harness.report import figures, variants
from harness.report.build import render
from harness.report.candidate import Candidate
from harness.report.findings import Findings
from harness.report.format import METRICS, code, decimals, interval, mean_sd, number, plain
from harness.report.runs import read_results
from harness.settings.schema import Settings
from harness.settings.study import Component, Study
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.models import Difference, Summary, compare

REPOSITORY = Path(__file__).parent.parent
REPORTS = REPOSITORY / "reports"

SMALL = """
name: pair
title: Two variants
purpose: A study of two.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2]
variants:
  base: &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 5}
  tanh: {<<: *base, activation: tanh}
"""

Whole = tuple[Study, tuple[Settings, int], Report]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The default study with all of its results, a candidate, and its report."""
    root = tmp_path_factory.mktemp("whole")
    study = make_study(root)
    make_results(study, root)
    candidate = (study.variants["no-lrn"].model_copy(update={"dropout": 0.2}), 0)
    make_run(root / study.candidate_results, *candidate)
    return study, candidate, Report(render(study, candidate, root))


@pytest.fixture
def pair(tmp_path: Path) -> Study:
    """A study of two variants with three seeds, all finished, in `tmp_path`."""
    return made(tmp_path)


def made(root: Path, text: str = SMALL) -> Study:
    study = make_study(root, text)
    make_results(study, root)
    return study


def findings_of(study: Study, root: Path, candidate: tuple[Settings, int] | None = None) -> Findings:
    return Findings(study, read_results(study, candidate, root), candidate, root)


def edit(path: Path, **changes: Any) -> None:
    alter(path, lambda values: values.update(changes))


def set_errors(study: Study, root: Path, variant: str, *errors: float, metric: str = "test_top1") -> None:
    """Give the runs of a variant these errors, by seed."""
    for seed, error in zip(study.seeds, errors, strict=True):
        edit(root / study.folder / "runs" / f"{variant}-{seed}" / "eval/metrics.json", **{metric: error})


# ---- what is shown


def test_every_declared_run_is_shown(whole: Whole) -> None:
    study, _, report = whole
    golden("complete.md", report.page)
    assert set(report.components) == {component.label for component in study.components.values()}
    assert list(report.variants) == [*study.variants, "*candidate* (one run, seed 0)"]
    assert [row["variant"] for row in report.csv("variants")] == [*study.variants, "candidate"]
    cells = [(row["variant"], int(row["seed"])) for row in report.csv("cells")]
    assert cells == [*((c.variant, c.seed) for c in study.cells), ("candidate", 0)]
    curves = {(row["variant"], int(row["seed"])) for row in report.csv("curves")}
    assert curves == set(cells)


def test_the_tables_hold_the_numbers_of_the_metrics_files(whole: Whole) -> None:
    study, _, report = whole

    def errors(variant: str) -> dict[int, float]:
        files = {s: report.folder / "runs" / f"{variant}-{s}" / "eval/metrics.json" for s in study.seeds}
        return {seed: json.loads(path.read_text())["test_top1"] for seed, path in files.items()}

    judged = compare_all({variant: errors(variant) for variant in study.variants}, "base", Rules())
    means = []
    for row in report.csv("variants")[1:-1]:
        c = judged[row["variant"]]
        d = c.difference
        names = ("difference", "low", "high", "adjusted_p", "detectable", "sign_flip_p")
        assert [float(row[name]) for name in names] == [d.mean, d.low, d.high, c.adjusted, c.detectable, c.flip.p]
        assert d.mean == compare(errors(row["variant"]), errors("base"), 0.95).mean
        assert row["verdict"] == c.verdict
        assert float(row["mean"]) == pytest.approx(sum(errors(row["variant"]).values()) / 5)
        cells = report.components[study.components[row["variant"]].label]
        shown = [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d[\d.]*", cells[1])]
        assert shown == pytest.approx([d.mean, d.low, d.high], abs=0.0501)
        assert cells[2].removesuffix(" here") == variants.WORDS[c.verdict]
        paper = study.published.get(row["variant"])
        assert cells[3] == (number(paper.top1, 1, sign=True) if paper else "–")
        means.append((list(report.components).index(study.components[row["variant"]].label), -float(row["difference"])))
    assert sorted(means) == sorted(means, key=lambda entry: entry[1]), "largest effect first"


def test_missing_diverged_and_stale_runs_are_shown_and_not_compared(tmp_path: Path, pair: Study) -> None:
    cells = tmp_path / pair.folder / "runs"
    shutil.rmtree(cells / "tanh-0")
    diverge(cells / "tanh-1", 3)
    alter(cells / "base-2" / "train/config.json", lambda values: values["settings"].update(lr=0.02))
    report = told(pair, tmp_path)
    status = {f"{row['variant']}-{row['seed']}": row["status"] for row in report.csv("cells")}
    listed = dict(re.findall(r"(?m)^- `([\w-]+)`: \*\*(\w+)\*\*", report.details))
    assert listed == {"tanh-0": "missing", "tanh-1": "diverged", "base-2": "stale"}
    assert status == dict.fromkeys(("base-0", "base-1", "tanh-2"), "finished") | listed
    (counts,) = [row for row in report.csv("variants") if row["variant"] == "tanh"]
    assert [counts[name] for name in ("finished", "diverged", "missing", "stale", "pairs")] == ["1", "1", "1", "0", "0"]
    assert report.variants["tanh"][2] == "1 of 3"
    assert report.components["tanh"][1:] == ["–", "0"]
    written = json.loads((report.folder / "summary.json").read_text())
    assert (written["finished"], written["declared"]) == (4, 6), "a diverged run has ended"


def test_only_complete_pairs_on_the_same_images_are_compared_and_counted(tmp_path: Path, pair: Study) -> None:
    config = tmp_path / pair.folder / "runs" / "tanh-1" / "train/config.json"
    alter(config, lambda values: values["data"].update(hash="f" * 64))
    assert findings_of(pair, tmp_path).rows[1].difference.seeds == (0, 2)
    shutil.rmtree(tmp_path / pair.folder / "runs" / "base-0")
    assert [(row.finished, row.difference.seeds) for row in findings_of(pair, tmp_path).rows[1:]] == [(3, (2,))]


MANIFEST = {name: getattr(IMAGES, name) for name in ("name", "hash", "size", "channels", "class_names", "counts")} | {
    "class_counts": {}, "channel_means": [0.0], "covariance": [[1.0]], "eigenvalues": [1.0], "eigenvectors": [[1.0]],
    "left_out": [],
}  # fmt: skip
"""Of the images that the made-up runs saw."""


def test_what_was_noted_of_images_is_told_and_a_warning_where_it_changes_a_result(tmp_path: Path, pair: Study) -> None:
    def page(**counts: int) -> tuple[list[str], list[str]]:
        notes = {kind: {"count": count, "first": [f"a/<b>_{kind}.png"]} for kind, count in counts.items()}
        write_json(tmp_path / pair.manifest, MANIFEST | ({"notes": notes} if notes else {}))
        report = told(pair, tmp_path)
        held = MarkdownIt("commonmark").render(section(report.details, "What was held fixed"))
        warned = [line for line in warnings_of(report.page) if "parts or classes" in line]
        return [html.unescape(item) for item in re.findall("<li>(.*)</li>", held)], warned

    assert page() == ([], [])
    items, warned = page(turned=3, files=1)
    assert [re.sub(r":.*", "", item) for item in items] == [claim("files", Note(1)), claim("turned", Note(3))]
    assert [re.sub(r".*: ", "", item) for item in items] == ["a/<b>_files.png", "a/<b>_turned.png, ..."]
    assert not warned
    tested, every = IMAGES.counts["test"], sum(IMAGES.counts.values())
    assert [len(part) for part in page(test_in_train=tested // 100 - 1, two_classes=every // 100 - 1)] == [2, 0]
    _, (warning,) = page(test_in_train=tested // 100 + 1, two_classes=every // 100 - 1)
    assert claim("test_in_train", Note(tested // 100 + 1)) in warning
    assert claim("two_classes", Note(every // 100 - 1)) not in warning


def test_images_that_cannot_be_read_are_listed_with_their_reasons(tmp_path: Path, pair: Study) -> None:
    for cell in pair.cells:
        alter(tmp_path / cell.results / "train/config.json", lambda values: values["data"].update(left_out=23))
    files = [{"path": f"train/a|b/{n}_*.png", "why": "no <format> that *Pillow* knows"} for n in range(23)]
    manifest = MANIFEST | {"left_out": files}
    assert "<li>" not in MarkdownIt().render(section(told(pair, tmp_path).details, "What was held fixed"))
    write_json(tmp_path / pair.manifest, manifest)
    held = section(told(pair, tmp_path).details, "What was held fixed")
    items = re.findall("<li>(.*)</li>", MarkdownIt("commonmark").render(held))
    shown = [html.unescape(re.sub("</?code>", "", item)) for item in items]
    assert shown[:20] == [f"{one['path']}: {one['why']}" for one in files[:20]]
    assert len(shown) == 21
    assert "3 more" in shown[20]
    # A list of other images is not theirs: the runs are not the study's any more.
    write_json(tmp_path / pair.manifest, manifest | {"hash": "f" * 64})
    assert {cell.status for cell in read_results(pair, None, tmp_path).cells} == {"stale"}


def test_a_study_without_any_run_has_a_report(tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL)
    report = told(study, tmp_path, (study.variants["base"], 0))
    assert [row["status"] for row in report.csv("cells")] == ["missing"] * 7
    assert tables_of(report.page + report.details)
    make_run(tmp_path / study.candidate_results, study.variants["base"], 0)
    only = told(study, tmp_path, (study.variants["base"], 0))
    assert only.csv("cells")[-1]["status"] == "finished"
    assert tables_of(only.page + only.details)
    assert not re.search(r"\b(help|hurt)", only.page.partition("![")[0].partition("purpose")[2])


# ---- verdicts and directions


@pytest.mark.parametrize("errors", [(20.5,), (20.5, 21.5, 22.5)], ids=["one seed", "equal differences"])
def test_without_an_interval_there_is_no_direction(tmp_path: Path, errors: tuple[float, ...]) -> None:
    study = made(tmp_path, SMALL.replace("[0, 1, 2]", str(list(range(len(errors))))))
    set_errors(study, tmp_path, "tanh", *errors)
    set_errors(study, tmp_path, "base", *(error - 0.5 for error in errors))
    report = told(study, tmp_path)
    (row,) = report.csv("variants")[1:]
    assert (float(row["difference"]), row["low"], row["high"], row["verdict"]) == (0.5, "", "", "inconclusive")
    assert report.components["tanh"][1:3] == ["−0.5", "undecided"]
    assert not re.search(r"\b(helps|hurts|raises|lowers)\b", report.page.partition("![")[0])


def test_an_interval_beyond_what_an_error_can_be_is_cut(tmp_path: Path) -> None:
    study = made(tmp_path, SMALL.replace("[0, 1, 2]", "[0, 1]"))
    set_errors(study, tmp_path, "base", 20.0, 20.0)
    set_errors(study, tmp_path, "tanh", 30.0, 80.0)
    report = told(study, tmp_path)
    (row,) = report.csv("variants")[1:]
    assert float(row["low"]) < -200, "the table of numbers has the test's own interval"
    assert float(row["high"]) > 200
    assert "(−80.0 to +20.0)" in report.components["tanh"][1]
    assert report.variants["tanh"][5] == "−20 to +80"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3), st.lists(st.floats(-2, 2), min_size=0, max_size=5)), min_size=1, max_size=4),
    st.sampled_from([None, 0.5, 3.0]),
    st.sets(st.sampled_from([name for name in EFFECTS if name != "base"])),
)
def test_effects_have_their_verdicts_sign_and_the_sentence_says_no_more(
    whole: Whole, arms: list[tuple[float, list[float]]], margin: float | None, added: set[str]
) -> None:
    study, _, report = whole
    labels = {name: Component(f"part-{name}", name in added) for name in study.components}
    findings = findings_of(dataclasses.replace(study, components=labels), report.path.parent.parent)
    base, *others = findings.rows
    values = {"base": dict.fromkeys(range(5), 20.0)} | {
        row.variant: {seed: 20 + effect + shift for seed, shift in enumerate(noise)}
        for row, (effect, noise) in zip(others, arms, strict=False)
    }
    judged = compare_all(values, "base", Rules(margin=margin))
    rows = [dataclasses.replace(row, comparison=judged[row.variant]) for row in others if row.variant in judged]
    findings.__dict__["rows"] = [base, *rows]
    effects = findings.components
    for effect in effects:
        d, verdict = judged[effect.row.variant].difference, judged[effect.row.variant].verdict
        sign = -1 if effect.row.variant in added else 1
        assert effect.mean == (None if d.mean is None else sign * d.mean)
        assert effect.values == tuple(sign * value for value in d.values)
        if d.low is not None and effect.low is not None and effect.mean is not None:
            assert effect.low < effect.mean < effect.high  # type: ignore[operator]
            assert (effect.low > 0 or effect.high < 0) == (d.low > 0 or d.high < 0)  # type: ignore[operator]
        verdict_of = effect.verdict if sign == 1 else variants.TURNED.get(effect.verdict, effect.verdict)
        assert verdict_of == (variants.WORDS[verdict] if d.n else "")
        if effect.verdict in ("helps", "hurts"):
            assert (effect.mean > 0) == (effect.verdict == "helps")  # type: ignore[operator]
    text = findings.answer
    assert "\n" not in text
    for words in text.rstrip(".").split("; "):
        (verb,) = re.findall(r"helps?\b|hurts?\b|difference|undecided|Too few pairs", words) or ["Too few pairs"]
        group = {"help": "helps", "hurt": "hurts", "difference": "no difference"}.get(verb, verb)
        named = {name for name, one in labels.items() if one.label in re.findall(r"[\w-]+", words)}
        assert named <= {effect.row.variant for effect in effects if effect.verdict == group}, text
    for word in ("helps", "hurts", "no difference", "undecided"):
        count = sum(effect.verdict == word for effect in effects)
        assert count <= 4 or f"and {count - 4} more" in text


def test_a_variant_outside_the_family_has_no_verdict(tmp_path: Path) -> None:
    study = made(tmp_path, SMALL.replace("seeds:", "family: []\nseeds:"))
    report = told(study, tmp_path)
    golden("no-verdicts.md", report.page)
    assert [row["verdict"] for row in report.csv("variants")] == ["", ""]
    assert len(report.components["tanh"]) == 3
    assert not re.search(r"\b(raises|lowers|undecided|helps|hurts)\b", report.page.partition("![")[0])


def test_a_study_of_the_sources_of_randomness_shows_their_spread(tmp_path: Path) -> None:
    study = made(tmp_path, SMALL.replace("activation: tanh", "vary: dropout").replace("seeds:", "family: []\nseeds:"))
    report = told(study, tmp_path)
    (table,) = tables_of(report.page)
    for row, cells in zip(report.csv("variants"), by_first(table).values(), strict=True):
        assert cells[2:4] == [number(float(row["mean"]), 1), number(float(row["sd"]), 1)]
        low, high = (float(end) for end in cells[4].split(" to "))
        assert low < float(row["sd"]) < high
    assert "sd" in re.findall(r"(?m)^\*\*(.*)\*\*$", report.page)[0]
    assert "`claims: " in (report.folder / "claims.md").read_text(), "what to write to have claims judged"


def test_a_variant_at_chance_is_said_to_have_learned_nothing(tmp_path: Path, pair: Study) -> None:
    before = warnings_of(told(pair, tmp_path).page)
    set_errors(pair, tmp_path, "tanh", 90.0, 89.9, 89.8)
    report = told(pair, tmp_path)
    (more,) = [line for line in warnings_of(report.page) if line not in before]
    assert re.findall("`([^`]+)`", more) == ["tanh"]
    set_errors(pair, tmp_path, "base", 90.0, 90.1, 90.2)
    (more,) = [line for line in warnings_of(told(pair, tmp_path).page) if line not in before]
    assert re.findall("`([^`]+)`", more) == ["base", "tanh"]


# ---- the compared error

TOP5 = f"""{SMALL}metric: test_top5
components: {{tanh: ReLU}}
published: {{tanh: {{top1: 3.5, top5: 1.25, where: section 3.1}}}}
"""


def test_a_study_of_the_top5_error_is_of_that_error_throughout(tmp_path: Path) -> None:
    study = made(tmp_path, TOP5)
    report = Report(render(study, None, tmp_path))
    cells = {(c["variant"], int(c["seed"])): float(c["test_top5"]) for c in report.csv("cells")}
    base, tanh = report.csv("variants")
    assert float(tanh["difference"]) == pytest.approx(sum(cells["tanh", s] - cells["base", s] for s in study.seeds) / 3)
    assert (tanh["metric"], tanh["paper_difference"], tanh["paper_where"]) == ("test_top5", "1.25", "section 3.1")
    (row,) = [row for row in findings_of(study, tmp_path).rows if row.is_baseline]
    assert row.error.mean == pytest.approx(sum(cells["base", s] for s in study.seeds) / 3)
    share = float(base["mean"]) / 100
    assert row.floor == pytest.approx(100 * (share * (1 - share) / 4000) ** 0.5)
    assert report.components["ReLU"][3] == "+1.2"
    for text in (report.page, report.details, (report.folder / "forest.svg").read_text()):
        assert METRICS["test_top5"] in text
    before = warnings_of(report.page)
    set_errors(study, tmp_path, "tanh", 50.0, 49.9, 49.8, metric="test_top5")  # five guesses of ten classes
    assert len(warnings_of(told(study, tmp_path).page)) == len(before) + 1


@pytest.mark.parametrize(
    ("metric", "published", "shown"),
    [("test_top5_10crop", "{top1: 3.5, where: here}", None), ("train_top1", "{top1: 3.5, top5: 1, where: here}", 3.5),
     ("test_top1", "{top5: 1.25, where: here}", None)],
)  # fmt: skip
def test_the_papers_number_is_of_the_compared_error_or_none(
    tmp_path: Path, metric: str, published: str, shown: float | None
) -> None:
    study = made(tmp_path, SMALL.replace("seeds:", f"metric: {metric}\nseeds:") + f"published:\n  tanh: {published}\n")
    report = told(study, tmp_path)
    (row,) = report.csv("variants")[1:]
    assert (row["paper_difference"], row["paper_where"]) == (("", "") if shown is None else (str(shown), "here"))
    findings = findings_of(study, tmp_path)
    forest = figures.forest(findings.components, None, metric)
    assert (figures.ORANGE.encode() in forest) == (shown is not None)


def test_the_scale_is_a_warning_unless_it_is_the_papers(tmp_path: Path) -> None:
    grey = SMALL.replace("preset: [paper, small], width: 0.5, colour: 0, epochs: 5", "preset: paper")
    paper = grey.replace("data: {source: fashion-mnist-8k}", "data: {source: imagenet, root: images}")
    short = paper.replace("preset: paper", "preset: paper, epochs: 2")
    counts = [len(warnings_of(told(make_study(tmp_path, text), tmp_path).page)) for text in (SMALL, grey, paper, short)]
    assert counts == [1, 1, 0, 1]
    scale = findings_of(make_study(tmp_path, SMALL), tmp_path).scale
    assert {"24", "16-32-48-48-32", "256-256", "5", "224", "96-256-384-384-256", "4096-4096"} <= set(scale.split())


def test_a_variant_of_several_settings_speaks_of_none_of_them_alone(tmp_path: Path) -> None:
    text = SMALL.replace("{<<: *base, activation: tanh}", "{<<: *base, activation: tanh, lr: 0.03}")
    text = text.replace("[0, 1, 2]", "[0, 1, 2, 3, 4]") + "  no-dropout: {<<: *base, dropout: 0}\n"
    study = made(tmp_path, f"{text}components: {{tanh: ReLU, no-dropout: dropout}}\n")
    report = told(study, tmp_path)
    assert "| ReLU (2 settings) ‡ `tanh` |" in report.page
    assert report.components["ReLU"][2] == "helps"
    answer = re.findall(r"(?m)^\*\*(.*)\*\*$", report.page)[0]
    assert "dropout" in answer
    assert "ReLU" not in answer
    assert any("‡" in line for line in warnings_of(report.page))


def test_what_all_variants_share_is_listed_with_the_papers_values(whole: Whole) -> None:
    study, _, report = whole
    held = section(report.details, "What was held fixed")
    listed = {name for name in Settings.model_fields if re.search(rf"`{name}: ", held)}
    assert listed == set(Settings.model_fields) - {n for v in study.variants for n in study.differences(v)}
    assert "**`width: 0.5`** (`1`)" in held
    assert study.declaration in held


# ---- numbers and figures


def test_numbers_are_rounded_to_what_their_uncertainty_supports_and_zero_has_no_sign() -> None:
    wanted = {0.48: 2, 0.048: 2, 1.3: 1, 12.0: 0, 250.0: 0, 0.0: 2, None: 2}
    assert {uncertainty: decimals(uncertainty) for uncertainty in wanted} == wanted
    assert [number(n, 2, sign=True) for n in (-1.25, 1.25, -0.001, None)] == ["−1.25", "+1.25", "0.00", "–"]
    assert (mean_sd(Summary(3, 21.834, 1.27)), mean_sd(Summary(1, 21.834, None), 0.65)) == ("21.8 (1.3)", "21.83")
    ends = {(0.003, 1.3): "+0.003 to +1.300", (-1.3, -0.0004): "−1.3000 to −0.0004", (0.0, 1.0): "0.00 to +1.00"}
    for (low, high), shown in ends.items():  # an end that is not zero does not read as zero
        assert interval(Difference((0, 1), (low, high), (low + high) / 2, 1.0, low, high, 0.95)) == shown


def test_the_forest_has_effects_intervals_the_margin_and_the_papers_values(whole: Whole) -> None:
    study, _, report = whole
    effects = findings_of(study, report.path.parent.parent).components
    plain = figures.forest(effects, None, "error").decode()
    assert all(effect.label in plain for effect in effects)
    assert figures.BAND not in plain
    assert figures.BAND in figures.forest(effects, 0.5, "error").decode()
    assert len(re.findall(r"stroke-width: 2[;\"]", plain)) >= len(effects), "an interval of each"
    without = [dataclasses.replace(effect, paper=None) for effect in effects]
    assert figures.ORANGE in plain
    assert figures.ORANGE not in figures.forest(without, None, "error").decode()


def test_figures_are_small_sound_and_opaque(whole: Whole) -> None:
    study, _, report = whole
    for name in ("forest", "seeds", "power", "curves-error", "curves-loss"):
        content = (report.folder / f"{name}.svg").read_bytes()
        assert len(content) < 200_000, name
        ET.fromstring(content)  # noqa: S314
        assert b"fill: #ffffff" in content
        assert b"dc:date" not in content
    assert all(variant in (report.folder / "seeds.svg").read_text() for variant in study.variants if variant != "base")


# ---- the candidate


def candidate_of(study: Study, root: Path, candidate: tuple[Settings, int]) -> Candidate:
    row = findings_of(study, root, candidate).candidate
    assert row
    return row


@pytest.mark.parametrize(
    ("change", "outcomes", "causes", "apart"),
    [
        ({}, [], [], {}),
        ({"losses": "0" * 64, "batch_order": "1" * 64}, ["losses"], ["batch order"], {}),
        ({"weights": "0" * 64, "batch_order": "1" * 64}, ["weights"], ["batch order"], {}),
        ({"predictions": True}, ["predictions"], [], {}),
        ({"weights": "0" * 64, "instructions": "AVX512", "torch": "2.9.1+cu|130"}, ["weights"], [],
         {"instructions": ("AVX2", "AVX512"), "torch": ("2.9.0", "2.9.1+cu|130")}),
    ],
)  # fmt: skip
def test_a_candidate_with_a_declared_runs_settings_and_seed_is_held_against_it(
    tmp_path: Path, pair: Study, change: dict[str, Any], outcomes: list[str], causes: list[str], apart: dict[str, Any]
) -> None:
    runs, folder = tmp_path / pair.folder / "runs", tmp_path / pair.candidate_results
    shutil.copytree(runs / "base-1", folder)
    if change.pop("predictions", False):
        shutil.copyfile(runs / "base-2" / "eval/predictions.parquet", folder / "eval/predictions.parquet")
    provenance = json.loads((folder / "train/provenance.json").read_text())
    for key, value in change.items():
        next(part for part in (provenance[n] for n in ("hashes", "machine", "versions")) if key in part)[key] = value
    write_json(folder / "train/provenance.json", provenance)
    candidate = (pair.variants["base"], 1)
    row = candidate_of(pair, tmp_path, candidate)
    assert row.twin
    twin = row.twin
    assert (twin.cell.key, twin.outcomes, twin.causes, twin.apart) == ("base-1", outcomes, causes, apart)
    assert row.difference == 0
    text = section(told(pair, tmp_path, candidate).details, "Candidate")
    assert ("**not bitwise identical**" in text) == bool(outcomes)
    assert all(word in text for word in [*outcomes, *causes, *apart])


def test_a_candidate_without_a_partner_has_no_difference_and_another_ones_result_is_stale(
    tmp_path: Path, pair: Study
) -> None:
    candidate = (pair.variants["tanh"], 9)
    make_run(tmp_path / pair.candidate_results, *candidate)
    row = candidate_of(pair, tmp_path, candidate)
    assert (row.difference, row.twin, row.result.status) == (None, None, "finished")
    assert told(pair, tmp_path, candidate).variants["*candidate* (one run, seed 9)"][4:7] == ["–", "–", "–"]
    row = candidate_of(pair, tmp_path, (pair.variants["base"], 0))
    assert (row.result.status, row.error, row.difference) == ("stale", None, None)
    assert "activation" in row.result.note


# ---- that it is sound


def test_a_report_made_again_is_the_same_to_the_byte(whole: Whole, tmp_path: Path) -> None:
    report = whole[2]
    root, again = report.path.parent.parent, tmp_path / "again"
    shutil.copytree(root, again, ignore=shutil.ignore_patterns("*.svg", "*.md"))
    program = (
        "from pathlib import Path; from harness.report.build import render;"
        "from harness.settings.load import load_study; study = load_study(Path('experiments/study.yaml'));"
        "candidate = (study.variants['no-lrn'].model_copy(update={'dropout': 0.2}), 0);"
        "render(study, candidate, Path('.'))"
    )
    # Another process, where sets have another order, and a user with other ideas of figures.
    (again / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 5\n")
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", program], cwd=again, env=environment, check=True, capture_output=True)
    files = [path.relative_to(root) for path in (root / "reports").rglob("*") if path.is_file()]
    made = [file for file in files if not {"runs", "candidate"} & set(file.parts)]
    assert len(made) >= 16
    for file in made:
        assert (root / file).read_bytes() == (again / file).read_bytes(), file


def test_links_lead_to_files_and_places_that_exist(whole: Whole) -> None:
    report = whole[2]
    pages = [report.path, report.path.with_name("README.md"), *report.folder.glob("*.md")]
    assert len(pages) == 4
    for page in pages:
        links = re.findall(r'(?:href|src)="([^"]+)"', MarkdownIt().enable("table").render(page.read_text()))
        assert links, page
        for link in links:
            # Pages on the method are the repository's.
            exists = (page.parent / link).is_file() or (page.name == "README.md" and (REPORTS / link).is_file())
            assert exists, f"{page.name}: {link}"


@pytest.mark.parametrize(
    "name", ["README", *sorted(name for name in ("components", *OWN) if (REPORTS / name).is_dir())]
)
def test_committed_pages_are_short_and_sound(name: str) -> None:
    text = (REPORTS / f"{name}.md").read_text()
    if name != "README":
        words = [word for word in re.sub(r"\]\([^)]*\)", "]", text).split() if re.search(r"\w", word)]
        assert len(words) < 400
        answer = re.findall(r"(?m)^\*\*(.*)\*\*$", text)
        assert len(answer) == 1
        assert json.loads((REPORTS / name / "summary.json").read_text())["answer"] == answer[0]
    for link in re.findall(r"\]\(<?([^)>]+)>?\)", text):
        assert (REPORTS / link).is_file(), link
    assert tables_of(text)
    for path in [REPORTS / f"{name}.md", *(REPORTS / name).glob("*.md")]:
        lines = path.read_text().splitlines()
        assert [line for before, line in pairwise(lines) if line.startswith("#") and before] == []


def test_each_table_names_its_source(whole: Whole) -> None:
    report = whole[2]
    parts = [part for part in report.details.split("\n## ")[1:] if tables_of(part)]
    assert len(parts) >= 6
    for part in parts:
        assert re.search(r"(?m)^\S.*\(<?\S+\.(csv|yaml)>?\)\.$", part.rpartition("\n|")[2]), part


NASTY = 'A|B <script>alert("x")</script> `code` *bold* _u_ [l](x) ![i](y) # $E$ & \\ ~~s~~ &amp; 1. &#124;'


@pytest.mark.parametrize("text", [NASTY, "- item", "1. item", "# head", "> quote", "===", "---", "+ plus", "a  \n b"])
@pytest.mark.parametrize("form", [plain, code])
def test_texts_of_others_are_shown_as_they_are(text: str, form: Any) -> None:
    wanted = " ".join(text.split())
    renderer = MarkdownIt().enable(["table", "strikethrough"])
    for source, pattern in (
        (form(text), r"<p>(.*)</p>\n"),
        (f"| a | b |\n|:--|:--|\n| {form(text)} | z |", r"(?s).*<td[^>]*>(.*)</td>\s*<td[^>]*>z</td>.*"),
    ):
        rendered = renderer.render(source)
        match = re.fullmatch(pattern, rendered)
        assert match, rendered
        inner = re.sub("</?code>", "", match[1])
        assert not re.search("<[a-z]", inner), inner
        assert html.unescape(inner) == wanted


def test_a_study_with_special_characters_has_sound_pages(tmp_path: Path) -> None:
    nasty = json.dumps(NASTY)
    study = made(
        tmp_path,
        SMALL.replace("title: Two variants", f"title: {nasty}").replace("A study of two.", nasty)
        + f"published:\n  tanh: {{top1: 1.0, where: {nasty}}}\ncomponents: {{tanh: {nasty}}}\n",
    )
    path = tmp_path / study.folder / "runs" / "base-0" / "train/provenance.json"
    alter(path, lambda values: values.update(command=NASTY, machine=values["machine"] | {"device_name": NASTY}))
    report = told(study, tmp_path)
    for text in (report.page, report.details, (report.path.with_name("README.md")).read_text()):
        rendered = MarkdownIt().enable("table").render(text)
        assert "<script" not in rendered
        tables = re.findall(r"(?s)<table>.*?</table>", rendered)
        assert len(tables) == text.count("\n|:--")
        for table in tables:
            assert len({len(re.findall("<t[hd]", row)) for row in re.findall(r"(?s)<tr>.*?</tr>", table)}) == 1, table


METRICS_FILE = f'{{"status": "finished", "diverged_epoch": null, "code": "{identity("eval")}", '
"""The begin of a metrics.json."""


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("eval/metrics.json", METRICS_FILE + '"test_top5": 1.0}', "test_top1: missing"),
        ("train/config.json", '{"seed": 0}', "missing"),
        ("train/history.csv", "epoch,lr\n1,0.1\n", "history"),
    ],
)
def test_a_broken_result_is_one_line_that_names_its_file(
    tmp_path: Path, pair: Study, file: str, content: str, says: str
) -> None:
    path = tmp_path / pair.folder / "runs" / "tanh-1" / file
    path.write_text(content)
    with pytest.raises(UserError) as error:
        told(pair, tmp_path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    path.unlink()
    if path.name in ("config.json", "metrics.json"):  # as of a run that was never trained, or not evaluated
        assert read_results(pair, None, tmp_path).of("tanh")[1].status == "missing"
        return
    with pytest.raises(UserError, match="no such file"):
        told(pair, tmp_path)


def test_the_declared_cells_are_read_and_no_others(tmp_path: Path, pair: Study) -> None:
    before = told(pair, tmp_path).details
    cells = tmp_path / pair.folder / "runs"
    make_run(cells / "gone-0", pair.variants["base"], 0)
    assert told(pair, tmp_path).details == before
    shutil.copyfile(cells / "tanh-2/train/provenance.json", cells / "tanh-1/train/provenance.json")
    with pytest.raises(UserError, match="fingerprint"):
        told(pair, tmp_path)
