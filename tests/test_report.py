"""The report shows every declared run, claims no more than its intervals, and is the same each time."""

import csv
import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import seaborn as sns
from fake_study import EFFECTS, IMAGES, STUDY, diverge, make_results, make_run, make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.errors import UserError
from harness.files import write_json
from harness.identity.known import identity
from harness.report import figures, sections, tables
from harness.report.answer import answer
from harness.report.cells import read_results
from harness.report.findings import Findings
from harness.report.identity_text import identity_text
from harness.report.markdown import code, plain
from harness.report.numbers import adjusted_p, decimals, interval, mean_sd, number
from harness.report.render import render
from harness.report.template import to_markdown
from harness.settings.schema import Settings
from harness.settings.study import Study
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.judging import TESTS, Test
from harness.statistics.paired import Difference, Summary, compare

Candidate = tuple[Settings, int]

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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Candidate, Path]:
    """The default study with all of its results, a candidate, and its report."""
    root = tmp_path_factory.mktemp("whole")
    study = make_study(root)
    make_results(study, root)
    candidate = (study.variants["no-lrn"].model_copy(update={"dropout": 0.2}), 0)
    make_run(root / study.candidate_results, *candidate)
    render(study, candidate, root)
    return study, candidate, root


@pytest.fixture
def pair(tmp_path: Path) -> Study:
    """A study of two variants with three seeds, all finished, in `tmp_path`."""
    study = make_study(tmp_path, SMALL)
    make_results(study, tmp_path)
    return study


def text_of(study: Study, candidate: Candidate | None, root: Path) -> str:
    """The report's text, without its figures."""
    return to_markdown(sections.context(Findings(study, read_results(study, candidate, root), candidate, root)))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def variant_table(text: str) -> dict[str, list[str]]:
    """The table of variants: its first column -> its cells."""
    block = text.partition("## Variants")[2].partition("\n\n")[2].partition("\n\n")[0]
    lines = block.replace("\N{NO-BREAK SPACE}", " ").splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: row for row in rows}


# ---- what is shown


def test_every_declared_variant_has_its_row_in_the_declared_order(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    table = variant_table((root / study.report).read_text())
    assert list(table) == [*(f"`{variant}`" for variant in study.variants), "*candidate* (one run, seed 0)"]
    assert [row["variant"] for row in rows_of(root / study.folder / "variants.csv")] == [*study.variants, "candidate"]
    cells = rows_of(root / study.folder / "cells.csv")
    assert [(c["variant"], int(c["seed"])) for c in cells[:-1]] == [(c.variant, c.seed) for c in study.cells]


def test_the_table_holds_the_numbers_of_the_metrics_files(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole

    def errors(variant: str) -> dict[int, float]:
        files = {s: root / study.folder / "runs" / f"{variant}-{s}" / "eval/metrics.json" for s in study.seeds}
        return {seed: json.loads(path.read_text())["test_top1"] for seed, path in files.items()}

    judged = compare_all({variant: errors(variant) for variant in study.variants}, "base", Rules())
    for row in rows_of(root / study.folder / "variants.csv")[1:-1]:
        c = judged[row["variant"]]
        d = c.difference
        found = [float(row[name]) for name in ("difference", "low", "high", "adjusted_p", "detectable", "sign_flip_p")]
        assert found == [d.mean, d.low, d.high, c.adjusted, c.detectable, c.flip.p], row["variant"]
        assert found[0] == compare(errors(row["variant"]), errors("base"), 0.95).mean
        assert row["verdict"] == c.verdict
        assert float(row["mean"]) == pytest.approx(sum(errors(row["variant"]).values()) / 5)
    assert "+1.4 (section 3.3)" in variant_table((root / study.report).read_text())["`no-lrn`"]


def test_missing_diverged_and_stale_runs_are_shown_and_not_compared(tmp_path: Path, pair: Study) -> None:
    cells = tmp_path / pair.folder / "runs"
    shutil.rmtree(cells / "tanh-0")
    diverge(cells / "tanh-1", 3)
    config = cells / "base-2" / "train/config.json"
    edit(config, settings=json.loads(config.read_text())["settings"] | {"lr": 0.02})
    text = text_of(pair, None, tmp_path)
    assert "`tanh-0`: **missing**" in text
    assert "`tanh-1`: **diverged**: the loss was not finite in epoch 3" in text
    assert "Diverged runs: `tanh-1` in epoch 3." in text
    assert "`base-2`: **stale**: its result is of other settings: lr" in text
    assert variant_table(text)["`tanh`"][2:7] == ["1 of 3", variant_table(text)["`tanh`"][3], "–", "–", "0"]
    assert "**3 of the 6 declared runs have finished" in text
    render(pair, None, tmp_path)
    states = [row["status"] for row in rows_of(tmp_path / pair.folder / "cells.csv")]
    assert states == ["finished", "finished", "stale", "missing", "diverged", "finished"]
    counts = rows_of(tmp_path / pair.folder / "variants.csv")[1]
    assert [counts[name] for name in ("finished", "diverged", "missing", "stale", "pairs")] == ["1", "1", "1", "0", "0"]
    assert {row["variant"] for row in rows_of(tmp_path / pair.folder / "curves.csv")} == {"base", "tanh"}


def test_only_complete_pairs_are_compared_and_counted(tmp_path: Path, pair: Study) -> None:
    shutil.rmtree(tmp_path / pair.folder / "runs" / "base-1")
    row = variant_table(text_of(pair, None, tmp_path))["`tanh`"]
    assert (row[2], row[6]) == ("3 of 3", "2")


def test_runs_on_other_images_are_no_pair(tmp_path: Path, pair: Study) -> None:
    path = tmp_path / pair.folder / "runs" / "tanh-1" / "train/config.json"
    edit(path, data=json.loads(path.read_text())["data"] | {"hash": "f" * 64, "left_out": 3})
    text = text_of(pair, None, tmp_path)
    assert variant_table(text)["`tanh`"][6] == "2"
    assert "The runs differ in images" in text
    assert "| 3 | `ffffffffffff` |" in text


def manifest(**changes: Any) -> dict[str, Any]:
    """What the made-up runs' images are, as data.json has it."""
    values = {
        "name": IMAGES.name, "hash": IMAGES.hash, "size": IMAGES.size, "channels": IMAGES.channels,
        "class_names": IMAGES.class_names, "counts": IMAGES.counts, "class_counts": {}, "channel_means": [0.0],
        "covariance": [[1.0]], "eigenvalues": [1.0], "eigenvectors": [[1.0]], "left_out": [],
    }  # fmt: skip
    return values | changes


def test_images_that_cannot_be_read_are_listed_with_their_reasons(tmp_path: Path, pair: Study) -> None:
    whole = text_of(pair, None, tmp_path)
    assert "Left out of" not in whole
    for cell in pair.cells:
        path = tmp_path / cell.results / "train/config.json"
        edit(path, data=json.loads(path.read_text())["data"] | {"left_out": 23})
    counted = whole.replace(" | 0 | `", " | 23 | `")
    sentence = identity_text(read_results(pair, None, tmp_path))

    def added(text: str) -> str:
        """What the report says beside the table."""
        before, _, rest = text.partition("Left out of")
        block, _, after = rest.partition(sentence)
        assert f"{before}{sentence}{after}" == counted
        return f"Left out of{block}"

    none = added(text_of(pair, None, tmp_path))
    assert f"fashion-mnist-8k `{IMAGES.hash[:12]}`" in none
    assert "23 files that cannot be read as an image" in none
    files = [{"path": f"train/a|b/{n}_*.png", "why": "no <format> that *Pillow* knows"} for n in range(23)]
    write_json(tmp_path / pair.manifest, manifest(left_out=files))
    text = text_of(pair, None, tmp_path)
    block = "Left out of" + text.partition("Left out of")[2].partition(sentence)[0]
    items = re.findall("<li>(.*)</li>", MarkdownIt("commonmark").render(block))
    shown = [html.unescape(re.sub("</?code>", "", item)) for item in items]
    assert shown[:20] == [f"{one['path']}: {one['why']}" for one in files[:20]]
    assert shown[20:] == ["and 3 more, listed in reports/pair/data.json"]
    assert f"\n\n{sentence}\n\n| condition |" in text
    # A list of other images is not theirs: the runs are not the study's any more.
    write_json(tmp_path / pair.manifest, manifest(left_out=files, hash="f" * 64))
    again = text_of(pair, None, tmp_path)
    assert again.count("**stale**: its images are") == len(pair.cells)
    assert "Pillow" not in again


def test_a_study_without_any_run_has_a_report(tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL)
    path = render(study, (study.variants["base"], 0), tmp_path)
    text = path.read_text()
    assert "No run of the baseline `base` has finished" in text
    assert text.count("**missing**") == 7
    assert len(rows_of(tmp_path / study.folder / "cells.csv")) == 7
    make_run(tmp_path / study.candidate_results, study.variants["base"], 0)
    only = text_of(study, (study.variants["base"], 0), tmp_path)
    for table in re.findall(r"(?:^\|.*\n)+", text + only, re.MULTILINE):
        assert len({line.count(" | ") for line in table.splitlines() if not line.startswith("|:")}) == 1, table


def test_one_seed_has_no_interval_and_no_direction(tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL.replace("[0, 1, 2]", "[4]"))
    make_results(study, tmp_path)
    text = text_of(study, None, tmp_path)
    assert variant_table(text)["`tanh`"][5:7] == ["no interval", "1"]
    assert "fewer than two complete pairs" in text
    assert not re.search("raises|lowers", text)


def test_equal_differences_have_no_interval_and_no_direction(tmp_path: Path, pair: Study) -> None:
    for seed in pair.seeds:
        for variant, error in (("base", 20.0 + seed), ("tanh", 20.5 + seed)):
            edit(tmp_path / pair.folder / "runs" / f"{variant}-{seed}" / "eval/metrics.json", test_top1=error)
    text = text_of(pair, None, tmp_path)
    assert variant_table(text)["`tanh`"][4:7] == ["+0.50", "no interval", "3"]
    assert "the difference is the same on every seed" in text
    assert not re.search("raises|lowers", text)


def test_a_variant_at_chance_is_said_to_have_learned_nothing(tmp_path: Path, pair: Study) -> None:
    assert not re.search("[Aa]t chance", text_of(pair, None, tmp_path))
    for seed in pair.seeds:
        edit(tmp_path / pair.folder / "runs" / f"tanh-{seed}" / "eval/metrics.json", test_top1=90.0 - 0.1 * seed)
    text = text_of(pair, None, tmp_path)
    assert "**At chance: `tanh`.**" in text
    warning = "> **Careful.** `tanh` is at chance: nothing was learned there. Its difference to the baseline says"
    assert warning in text.partition("## Variants")[0]
    for seed in pair.seeds:
        edit(tmp_path / pair.folder / "runs" / f"base-{seed}" / "eval/metrics.json", test_top1=90.0 + 0.1 * seed)
    warning = "> **Careful.** `base` and `tanh` are at chance: nothing was learned there. The baseline is among them"
    assert warning in text_of(pair, None, tmp_path).partition("## Variants")[0]


TOP5 = f"""{SMALL}
metric: test_top5
published:
  tanh: {{top1: 3.5, top5: 1.25, where: section 3.1}}
"""


def test_a_study_of_the_top5_error_is_of_that_error_throughout(tmp_path: Path) -> None:
    study = make_study(tmp_path, TOP5)
    make_results(study, tmp_path)
    text = render(study, None, tmp_path).read_text()
    cells = {
        (c["variant"], int(c["seed"])): {name: float(c[name]) for name in ("test_top5", "test_top5_10crop")}
        for c in rows_of(tmp_path / study.folder / "cells.csv")
    }
    differences = [cells["tanh", s]["test_top5"] - cells["base", s]["test_top5"] for s in study.seeds]
    base, tanh = rows_of(tmp_path / study.folder / "variants.csv")
    assert float(tanh["difference"]) == pytest.approx(sum(differences) / 3)
    assert (tanh["metric"], tanh["paper_difference"], tanh["paper_where"]) == ("test_top5", "1.25", "section 3.1")
    (row,) = [row for row in tables.variant_rows(study, read_results(study, None, tmp_path)) if row.is_baseline]
    assert row.error.mean == pytest.approx(sum(cells["base", s]["test_top5"] for s in study.seeds) / 3)
    share = float(base["mean"]) / 100
    assert row.floor == pytest.approx(100 * (share * (1 - share) / 4000) ** 0.5)
    table = variant_table(text)
    assert table["`tanh`"][10] == "+1.2 (section 3.1)"
    ten = sum(cells["tanh", s]["test_top5_10crop"] for s in study.seeds) / 3
    assert float(table["`tanh`"][11]) == pytest.approx(ten, abs=0.006)
    assert "| ten crops, % |" in text
    assert "Error: top-5 test error (centre crop) in percent" in text
    assert "Guessing five of 10 classes at random errs in 50 %." in text
    assert (
        "The study compares the top-5 test error (centre crop); this section is of the top-1 error of the centre crop "
        "alone." in text.partition("## Seeds and images")[2].partition("## ")[0]
    )
    assert text.count("test less training error, of top-1") == 2
    assert "top-5 test error (centre crop)" in (tmp_path / study.folder / "forest.svg").read_text()


def test_a_top5_study_is_at_chance_where_guessing_five_is(tmp_path: Path) -> None:
    study = make_study(tmp_path, TOP5)
    make_results(study, tmp_path)
    assert "At chance" not in text_of(study, None, tmp_path)
    for seed in study.seeds:
        edit(tmp_path / study.folder / "runs" / f"tanh-{seed}" / "eval/metrics.json", test_top5=50.0 - 0.1 * seed)
    assert "**At chance: `tanh`.**" in text_of(study, None, tmp_path)


@pytest.mark.parametrize(
    ("metric", "published", "shown"),
    [
        ("test_top5_10crop", "{top1: 3.5, top5: 1.25, where: here}", "+1.2 (here)"),
        ("test_top5_10crop", "{top1: 3.5, where: here}", "–"),
        ("train_top1", "{top1: 3.5, top5: 1.25, where: here}", "+3.5 (here)"),
        ("test_top1", "{top5: 1.25, where: here}", "–"),
    ],
)
def test_the_papers_number_is_of_the_compared_error_or_none(
    tmp_path: Path, metric: str, published: str, shown: str
) -> None:
    text = SMALL.replace("seeds:", f"metric: {metric}\nseeds:") + f"published:\n  tanh: {published}\n"
    study = make_study(tmp_path, text)
    make_results(study, tmp_path)
    report = render(study, None, tmp_path).read_text()
    assert variant_table(report)["`tanh`"][10] == shown
    (row,) = rows_of(tmp_path / study.folder / "variants.csv")[1:]
    given = shown != "–"
    assert bool(row["paper_difference"]) == bool(row["paper_where"]) == given
    assert (figures.ORANGE in (tmp_path / study.folder / "forest.svg").read_text()) == given
    other = report.partition("## Seeds and images")[2].partition("## ")[0]
    assert ("this section is of the top-1 error" in other) == (metric != "test_top1")


def test_the_scale_is_told_unless_it_is_the_papers(tmp_path: Path) -> None:
    small = text_of(make_study(tmp_path, SMALL), None, tmp_path)
    assert "here: crops of 24 pixels, 16-32-48-48-32 kernels and 256-256 fully connected units, 5 epochs over" in small
    assert "paper's: crops of 224 pixels, 96-256-384-384-256 kernels and 4096-4096 fully connected units" in small
    grey = SMALL.replace("preset: [paper, small], width: 0.5, colour: 0, epochs: 5", "preset: paper")
    assert "**Scale.**" in text_of(make_study(tmp_path, grey), None, tmp_path), "its net, and not its images"
    paper = grey.replace("data: {source: fashion-mnist-8k}", "data: {source: imagenet, root: images}")
    assert "**Scale.**" not in text_of(make_study(tmp_path, paper), None, tmp_path)
    short = paper.replace("preset: paper", "preset: paper, epochs: 2")
    assert "**Scale.**" in text_of(make_study(tmp_path, short), None, tmp_path)


def test_a_variant_of_several_settings_speaks_of_none_of_them_alone(tmp_path: Path) -> None:
    text = SMALL.replace("{<<: *base, activation: tanh}", "{<<: *base, activation: tanh, lr: 0.03}")
    text = text.replace("[0, 1, 2]", "[0, 1, 2, 3, 4]")
    study = make_study(tmp_path, text + "  no-dropout: {<<: *base, dropout: 0}\n")
    make_results(study, tmp_path)
    said = text_of(study, None, tmp_path)
    assert "Changed in several settings at once: `tanh` (2). Its difference is that of all of them together" in said
    answered = said.partition("## Answer")[2].partition("## Variants")[0]
    assert "`tanh` raises it by" in answered
    assert "what the baseline has hurts where `no-dropout` changes it." in answered, "tanh is not one thing it has"


@pytest.mark.parametrize("metric", ["test_top1_mc_geometric", "validation_top1"])
def test_an_error_that_few_runs_have_is_shown_where_it_is_compared(metric: str, tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL.replace("seeds:", f"metric: {metric}\nseeds:"))
    make_results(study, tmp_path)
    for cell in study.cells:
        edit(tmp_path / cell.results / "eval/metrics.json", **{metric: 30.0 + cell.seed + (cell.variant == "tanh") / 2})
    render(study, None, tmp_path)
    rows = variant_table((tmp_path / study.report).read_text())
    assert [rows[name][3] for name in ("`base`", "`tanh`")] == ["31.0 (1.0)", "31.5 (1.0)"]


def test_the_range_of_times_stands_beside_their_mean(tmp_path: Path, pair: Study) -> None:
    for seed, seconds in enumerate((10.0, 20.0, 60.0)):
        edit(tmp_path / pair.folder / "runs" / f"tanh-{seed}" / "train/provenance.json", wall_seconds=seconds)
    rows = variant_table(text_of(pair, None, tmp_path))
    assert rows["`tanh`"][-1] == "30 s (10 s to 60 s)"


def test_runs_of_other_versions_or_threads_are_listed(tmp_path: Path, pair: Study) -> None:
    assert "**Careful.**" not in text_of(pair, None, tmp_path)
    path = tmp_path / pair.folder / "runs" / "tanh-1" / "train/provenance.json"
    values = json.loads(path.read_text())
    edit(path, versions=values["versions"] | {"torch": "9.9"}, machine=values["machine"] | {"threads": 4})
    text = text_of(pair, None, tmp_path)
    assert "The runs differ in threads and torch" in text
    assert "| **torch** | 2.9.0<br>9.9 | `base` 0, 1, 2; `tanh` 0, 2<br>`tanh` 1 |" in text


def test_what_all_variants_share_is_listed_with_the_papers_values(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    text = (root / study.report).read_text()
    held = text.partition("## What was held fixed")[2]
    listed = {name for name in Settings.model_fields if re.search(rf"`{name}: ", held)}
    changed = {name for variant in study.variants for name in study.differences(variant)}
    assert listed == set(Settings.model_fields) - changed
    assert "**`width: 0.5`** (`1`)" in held
    assert study.declaration in held


# ---- what is claimed


def test_a_direction_is_claimed_only_with_a_verdict_and_then_the_interval_excludes_zero(
    whole: tuple[Study, Candidate, Path],
) -> None:
    study, _, root = whole
    text = (root / study.report).read_text()
    claimed = set(re.findall(r"`([\w-]+)` (?:raises|lowers)", text))
    rows = rows_of(root / study.folder / "variants.csv")[1:-1]
    assert claimed == {r["variant"] for r in rows if r["verdict"] in ("helps", "hurts")}
    assert claimed <= {r["variant"] for r in rows if float(r["low"]) > 0 or float(r["high"]) < 0}
    assert {"no-augment", "no-dropout", "tanh"} <= claimed < set(EFFECTS)
    assert not re.search(r"\b(better|worse|best|significant\w*)\b", text.partition("## Answer")[2])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-3, 3), st.lists(st.floats(-2, 2), min_size=0, max_size=5)), min_size=1, max_size=4),
    st.sampled_from([None, 0.5, 3.0]),
    st.sampled_from(TESTS),
)
def test_no_sentence_claims_more_than_its_verdict(
    whole: tuple[Study, Candidate, Path], arms: list[tuple[float, list[float]]], margin: float | None, test: Test
) -> None:
    study, _, root = whole
    base, *others = tables.variant_rows(study, read_results(study, None, root))
    values = {"base": dict.fromkeys(range(5), 20.0)} | {
        row.variant: {seed: 20 + effect + own for seed, own in enumerate(noise)}
        for row, (effect, noise) in zip(others, arms, strict=False)
    }
    judged = compare_all(values, "base", Rules(margin=margin, test=test))
    rows = [base] + [
        dataclasses.replace(row, difference=judged[row.variant].difference, comparison=judged[row.variant])
        for row in others
        if row.variant in judged
    ]
    text = answer(study, rows, "some images")
    assert "\n" not in text
    for row in rows[1:]:
        verdict = judged[row.variant].verdict
        said = re.search(rf"`{row.variant}` (raises|lowers) it by", text)
        assert (said[1] if said else None) == {"helps": "raises", "hurts": "lowers"}.get(verdict), text
        assert f"`{row.variant}`" in text
        if verdict == "inconclusive":
            sentences = [own for own in re.split(r"(?<=[.)]) (?=[A-Z(`])", text) if f"`{row.variant}`" in own]
            assert not re.search(r"better|worse|help|hurt|raise|lower|equivalent", " ".join(sentences)), text
    assert "better" not in text
    if any(c.verdict == "inconclusive" and c.difference.sign is not None for c in judged.values()):
        assert "undecided" in text
    assert ("equivalent" in text) == any(c.verdict == "equivalent" for c in judged.values())


def test_the_answer_says_what_its_intervals_are_not(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    answer = (root / study.report).read_text().partition("## Answer\n\n")[2].partition("\n")[0]
    assert "The verdicts hold for all 7 comparisons together" in answer
    assert "about 5 % of such studies" in answer
    assert "The intervals hold at 95 % each." in answer
    assert "one data set, fashion-mnist-8k (3,500 images to train" in answer


def test_diverged_pairs_are_counted_and_have_the_worst_rank(tmp_path: Path) -> None:
    study = make_study(tmp_path, SMALL.replace("[0, 1, 2]", "[0, 1, 2, 3, 4, 5]"))
    make_results(study, tmp_path)
    diverge(tmp_path / study.folder / "runs" / "tanh-3", 2)
    diverge(tmp_path / study.folder / "runs" / "base-5", 2)
    text = text_of(study, None, tmp_path)
    assert "Pairs with a diverged run: `tanh` 2" in text
    (row,) = tables.variant_rows(study, read_results(study, None, tmp_path))[1:]
    assert row.comparison is not None
    assert (row.comparison.diverged, row.difference.n, row.comparison.flip.ranked) == (2, 4, True)


def test_a_variant_outside_the_family_has_no_verdict(tmp_path: Path, pair: Study) -> None:
    rows = tables.variant_rows(pair, read_results(pair, None, tmp_path))
    values = {"base": {s: 20.0 + s for s in range(3)}, "tanh": {s: 30.0 + 1.1 * s for s in range(3)}}
    out = compare_all(values, "base", Rules(), [])["tanh"]
    text = answer(pair, [rows[0], dataclasses.replace(rows[1], comparison=out)], "some images")
    assert "`tanh`: outside the declared family, hence without a verdict." in text
    assert not re.search("raises|lowers|undecided", text)


@pytest.mark.parametrize(
    ("uncertainty", "places"), [(0.48, 2), (0.048, 2), (1.3, 1), (12.0, 0), (250.0, 0), (0.0, 2), (None, 2)]
)
def test_numbers_are_rounded_to_what_their_uncertainty_supports(uncertainty: float | None, places: int) -> None:
    assert decimals(uncertainty) == places


def test_numbers_have_true_signs_and_zero_has_none() -> None:
    assert number(-1.25, 2, sign=True) == "−1.25"
    assert number(1.25, 1, sign=True) == "+1.2"
    assert number(-0.001, 2, sign=True) == "0.00"
    assert number(None) == "–"
    assert mean_sd(Summary(3, 21.834, 1.27)) == "21.8 (1.3)"
    assert mean_sd(Summary(1, 21.834, None), 0.65) == "21.83"


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [(0.003, 1.3, "+0.003 to +1.300"), (-1.3, -0.0004, "−1.3000 to −0.0004"), (-0.31, 0.77, "−0.31 to +0.77"),
     (-31.2, 44.1, "−31 to +44"), (0.0, 1.0, "0.00 to +1.00")],
)  # fmt: skip
def test_an_end_of_an_interval_that_is_not_zero_does_not_read_as_zero(low: float, high: float, shown: str) -> None:
    d = Difference((0, 1), (low, high), (low + high) / 2, 1.0, low, high, 0.95)
    assert interval(d) == shown


def test_a_p_that_drawn_signs_cannot_resolve_is_shown_as_a_bound() -> None:
    values = {
        name: {s: 20.0 + s / 7 + step * (1 + s / 50) for s in range(18)} for name, step in (("b", 0.0), ("v", 1.0))
    }
    drawn = compare_all(values, "b", Rules(test="sign_flip"))["v"]
    assert adjusted_p(drawn) == "≤ 5e-05"  # none of 19,999 choices went as far
    few = compare_all({name: dict(list(own.items())[:5]) for name, own in values.items()}, "b", Rules(test="sign_flip"))
    assert adjusted_p(few["v"]) == "0.062"  # all 32 were counted: exact
    assert adjusted_p(compare_all(values, "b", Rules(test="paired_t"))["v"]) == "< 0.0001"


def line_xs(content: bytes, colour: str) -> list[list[float]]:
    """Places along x of each path of a colour in a figure."""
    paths = re.findall(rf'<path d="([^"]*)"[^>]*?style="[^"]*{colour}', content.decode(), re.DOTALL)
    return [[float(x) for x in re.findall(r"[ML] (-?[\d.]+) ", path)] for path in paths]


def test_the_forest_has_the_margin_as_a_band_and_the_papers_value(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    rows = tables.variant_rows(study, read_results(study, None, root))
    none = figures.forest(rows, None, "error")
    widths = {}
    for margin in (0.5, 1.0):
        own = [
            dataclasses.replace(row, comparison=row.comparison and dataclasses.replace(row.comparison, margin=margin))
            for row in rows
        ]
        band = max(line_xs(figures.forest(own, None, "error"), figures.BAND), key=lambda xs: max(xs) - min(xs))
        widths[margin] = max(band) - min(band)
    assert widths[1.0] == pytest.approx(2 * widths[0.5], rel=0.02)
    assert line_xs(none, figures.BAND) == []
    diamonds = none.count(figures.ORANGE.encode())
    without = [dataclasses.replace(row, published=None) for row in rows]
    assert diamonds
    assert figures.ORANGE.encode() not in figures.forest(without, None, "error")


def test_the_figures_of_seeds_and_power_show_every_seed_and_each_noise(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    rows = tables.variant_rows(study, read_results(study, None, root))
    content = figures.seeds(rows, "error")
    colours = sns.color_palette("viridis", 5).as_hex()
    for colour in colours:  # a line a seed over the seven variants
        assert max(len(xs) for xs in line_xs(content, colour)) == len(rows) - 1, colour
    first = sns.color_palette("colorblind", 1).as_hex()[0]
    curve = max(line_xs(figures.power(rows), first), key=len)
    assert len(curve) == 11
    assert curve == sorted(curve)


# ---- the candidate


def test_a_candidate_equal_to_its_cell_is_said_to_be_equal_to_the_bit(tmp_path: Path, pair: Study) -> None:
    candidate = (pair.variants["base"].model_copy(update={"device": "cpu", "classes": None}), 1)
    make_run(tmp_path / pair.candidate_results, *candidate)
    shutil.copytree(tmp_path / pair.folder / "runs" / "base-1", tmp_path / pair.candidate_results, dirs_exist_ok=True)
    text = text_of(pair, candidate, tmp_path)
    assert "of `base-1`, and came out **equal to the bit**" in text
    assert variant_table(text)["*candidate* (one run, seed 1)"][4:6] == ["0.00", "none: one run"]


@pytest.mark.parametrize("which", ["losses", "weights", "predictions"])
def test_a_candidate_that_differs_from_its_cell_is_said_to_differ(tmp_path: Path, pair: Study, which: str) -> None:
    candidate, folder = (pair.variants["base"], 1), tmp_path / pair.candidate_results
    shutil.copytree(tmp_path / pair.folder / "runs" / "base-1", folder)
    if which == "predictions":
        shutil.copyfile(
            tmp_path / pair.folder / "runs" / "base-2" / "eval/predictions.parquet", folder / f"eval/{which}.parquet"
        )
    else:
        values = json.loads((folder / "train/provenance.json").read_text())
        edit(folder / "train/provenance.json", hashes=values["hashes"] | {which: "0" * 64, "batch_order": "1" * 64})
    text = text_of(pair, candidate, tmp_path)
    assert f"**not equal to the bit**: {which} differ" in text
    assert "equal to the bit** in" not in text
    unknown = "Nothing that is hashed of what went into them differs: device, threads or versions may."
    assert (unknown if which == "predictions" else "they differ in batch order.") in text


def test_a_candidate_that_differs_by_its_machine_says_in_what(tmp_path: Path, pair: Study) -> None:
    candidate, folder = (pair.variants["base"], 1), tmp_path / pair.candidate_results
    shutil.copytree(tmp_path / pair.folder / "runs" / "base-1", folder)
    values = json.loads((folder / "train/provenance.json").read_text())
    edit(
        folder / "train/provenance.json",
        hashes=values["hashes"] | {"weights": "0" * 64},
        machine=values["machine"] | {"instructions": "AVX512"},
        versions=values["versions"] | {"torch": "2.9.1+cu|130"},
    )
    assert (
        "**not equal to the bit**: weights differs. Nothing that is hashed of what went into them differs, but what "
        "they were computed with does: instructions (`AVX2` → `AVX512`) and torch (`2.9.0` → "
        f"{code('2.9.1+cu|130')})."
    ) in text_of(pair, candidate, tmp_path)


def test_a_candidate_without_a_partner_has_no_difference(tmp_path: Path, pair: Study) -> None:
    candidate = (pair.variants["tanh"], 9)
    make_run(tmp_path / pair.candidate_results, *candidate)
    text = text_of(pair, candidate, tmp_path)
    assert "It is not compared: base has no finished run with seed 9" in text
    assert "No declared cell has its settings and its seed." in text
    assert variant_table(text)["*candidate* (one run, seed 9)"][4:7] == ["–", "–", "–"]


def test_the_result_of_another_candidate_is_stale(tmp_path: Path, pair: Study) -> None:
    make_run(tmp_path / pair.candidate_results, pair.variants["tanh"], 0)
    text = text_of(pair, (pair.variants["base"], 0), tmp_path)
    assert "It is **stale**: its result is of other settings: activation" in text
    assert variant_table(text)["*candidate* (one run, seed 0)"][3:5] == ["–", "–"]


# ---- that it is sound


def test_a_report_made_again_is_the_same_to_the_byte(whole: tuple[Study, Candidate, Path], tmp_path: Path) -> None:
    study, _, root = whole
    again = tmp_path / "again"
    shutil.copytree(root, again, ignore=shutil.ignore_patterns("*.svg", "components.md"))
    program = (
        "from pathlib import Path; from harness.report.render import render; from harness.settings.load import *;"
        "study = load_study(Path('experiments/study.yaml'));"
        "render(study, (study.variants['no-lrn'].model_copy(update={'dropout': 0.2}), 0), Path('.'))"
    )
    # Another process, where sets have another order, and a user with other ideas of figures.
    (again / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 5\n")
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", program], cwd=again, env=environment, check=True)
    files = [study.report, *(study.folder / path.name for path in (root / study.folder).iterdir() if path.is_file())]
    assert len(files) >= 10
    for file in files:
        assert (root / file).read_bytes() == (again / file).read_bytes(), file


def test_links_lead_to_files_and_places_that_exist(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    report = root / study.report
    rendered = MarkdownIt().enable("table").render(report.read_text())
    links = re.findall(r'(?:href|src)="([^"]+)"', rendered)
    assert len(links) > 10
    headings = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall("<h2>(.*)</h2>", rendered)}
    assert "what-was-held-fixed" in headings
    for link in links:
        assert link[1:] in headings if link[0] == "#" else (report.parent / link).is_file(), link


def test_each_table_names_its_source(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    for section in (root / study.report).read_text().split("\n## "):
        for after in section.split("\n|:--")[1:]:
            assert re.search(r"^(Numbers:|From) .*\(<?\S+\.(csv|yaml)>?\)\.$", after, re.MULTILINE), after


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


def test_a_study_with_special_characters_has_sound_tables(tmp_path: Path) -> None:
    text = SMALL.replace("title: Two variants", f"title: {json.dumps(NASTY)}") + (
        f"published:\n  tanh: {{top1: 1.0, where: {json.dumps(NASTY)}}}\n"
    )
    study = make_study(tmp_path, text)
    make_results(study, tmp_path)
    path = tmp_path / study.folder / "runs" / "base-0" / "train/provenance.json"
    values = json.loads(path.read_text())
    edit(path, machine=values["machine"] | {"device_name": NASTY}, command=NASTY)
    rendered = MarkdownIt().enable("table").render(text_of(study, None, tmp_path))
    assert "<script" not in rendered
    for table in re.findall(r"(?s)<table>.*?</table>", rendered):
        widths = {len(re.findall("<t[hd]", row)) for row in re.findall(r"(?s)<tr>.*?</tr>", table)}
        assert len(widths) == 1, table
    assert len(re.findall("<table>", rendered)) >= 6


def test_figures_are_small_sound_and_opaque(whole: tuple[Study, Candidate, Path]) -> None:
    study, _, root = whole
    for name in ("forest", "seeds", "power", "curves-error", "curves-loss"):
        content = (root / study.folder / f"{name}.svg").read_bytes()
        assert len(content) < 200_000, name
        ET.fromstring(content)  # noqa: S314
        assert b"fill: #ffffff" in content
        assert b"dc:date" not in content


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "reports").glob("*.md")), ids=lambda path: path.stem
)
def test_a_heading_stands_apart_from_what_is_before_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert [line for before, line in pairwise(lines) if line.startswith("#") and before] == []


def test_it_renders_in_seconds(whole: tuple[Study, Candidate, Path], tmp_path: Path) -> None:
    study, candidate, root = whole
    begin = time.process_time()
    render(study, candidate, root)
    assert time.process_time() - begin < 8


METRICS = f'{{"status": "finished", "diverged_epoch": null, "code": "{identity("eval")}", '
"""The begin of a metrics.json."""


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("eval/metrics.json", '{"status": "fini', "not valid JSON"),
        ("eval/metrics.json", METRICS + '"test_top5": 1.0}', "test_top1: missing"),
        ("eval/metrics.json", '{"status": "diverged", "diverged_epoch": 2}', "status: not that of"),
        ("eval/metrics.json", '{"status": "running"}', "status: got 'running'"),
        ("eval/metrics.json", METRICS + '"test_top1": NaN}', "test_top1: got nan"),
        ("eval/metrics.json", METRICS + '"test_top1": true}', "test_top1: got True"),
        ("eval/metrics.json", "[]", "got list; a mapping of numbers"),
        ("train/config.json", '{"seed": 0}', "missing"),
        ("train/provenance.json", "{}", "missing"),
        ("train/history.csv", "epoch,lr\n1,0.1\n", "not a run's history"),
        ("train/history.csv", "epoch,lr,train_loss,train_top1,validation_loss,validation_top1\n1,0.1,2", "not a run's"),
    ],
)
def test_a_broken_result_is_one_line_that_names_its_file(
    tmp_path: Path, pair: Study, file: str, content: str, says: str
) -> None:
    path = tmp_path / pair.folder / "runs" / "tanh-1" / file
    path.write_text(content)
    with pytest.raises(UserError) as error:
        render(pair, None, tmp_path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    path.unlink()
    if path.name in ("config.json", "metrics.json"):  # as of a run that was never trained, or not evaluated
        assert read_results(pair, None, tmp_path).of("tanh")[1].status == "missing"
        return
    with pytest.raises(UserError, match="no such file"):
        render(pair, None, tmp_path)


def test_a_missing_top5_error_of_few_classes_says_why(tmp_path: Path) -> None:
    study = make_study(tmp_path, TOP5)
    make_results(study, tmp_path)
    cell = tmp_path / study.folder / "runs" / "base-0"
    metrics = json.loads((cell / "eval/metrics.json").read_text())
    del metrics["test_top5"]
    (cell / "eval/metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=r"test_top5: missing; the study compares it$"):
        render(study, None, tmp_path)
    edit(cell / "train/config.json", data=json.loads((cell / "train/config.json").read_text())["data"] | {"classes": 7})
    with pytest.raises(UserError, match="the study compares it, and with 7 classes top-5 is not measured"):
        render(study, None, tmp_path)


def test_files_of_two_runs_in_one_folder_are_refused(tmp_path: Path, pair: Study) -> None:
    cells = tmp_path / pair.folder / "runs"
    shutil.copyfile(cells / "tanh-2/train/provenance.json", cells / "tanh-1/train/provenance.json")
    with pytest.raises(UserError, match="fingerprint"):
        render(pair, None, tmp_path)


def test_the_declared_cells_are_read_and_no_others(tmp_path: Path, pair: Study) -> None:
    before = text_of(pair, None, tmp_path)
    make_run(tmp_path / pair.folder / "runs" / "gone-0", pair.variants["base"], 0)
    assert text_of(pair, None, tmp_path) == before
    assert "no-lrn" in STUDY
    assert "gone" not in before
