"""That only the switch changed is shown from the runs' records, and a row of which it is not true fails."""

import csv
import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY
from fake_study import STUDY, diverge, make_results, make_study
from harness.report.cells import Results, read_results
from harness.report.identity_text import identity_text
from harness.report.proof import PROOF_COLUMNS, Proof, compare, proof_csv, proof_rows, proof_warnings, proofs
from harness.report.render import render
from harness.report.strict import faults
from ruamel.yaml import YAML
from typer.testing import CliRunner

from harness import provenance
from harness.cli import app
from harness.data.store import images_of, pack_study
from harness.errors import UserError
from harness.evaluate import evaluate
from harness.identity import known
from harness.identity.known import Known
from harness.provenance import check_clean, committed
from harness.record import RunFolder, read_run
from harness.report.findings import Findings
from harness.settings import declared
from harness.settings.load import load_study
from harness.settings.study import Study
from harness.train.run import train

REPOSITORY = Path(__file__).parent.parent

SHORT = TINY | {"epochs": 1}

SWITCHES: dict[str, tuple[dict[str, Any], set[str], set[str]]] = {
    # variant: what it changes, streams that this moves, layers whose initial weights it affects
    "no-lrn": ({"lrn": False}, set(), set()),
    "no-overlap": ({"overlap_pool": False}, set(), set()),
    "no-dropout": ({"dropout": 0.0}, set(), set()),
    "no-augment": ({"augment": False}, {"augmentation stream"}, set()),
    "no-flips": ({"flips": False}, {"augmentation stream"}, set()),
    "no-crops": ({"crops": False}, {"augmentation stream"}, set()),
    "chunks": ({"crop_chunk": 8}, {"augmentation stream"}, set()),
    "inclusive": ({"crop_positions": "inclusive"}, {"augmentation stream"}, set()),
    "no-colour": ({"colour": 0.0}, {"augmentation stream"}, set()),
    "root": ({"colour_scale": "root"}, {"augmentation stream"}, set()),
    "half-colour": ({"colour_until": 0.5}, {"augmentation stream"}, set()),
    "divided": ({"colour_divide": 1.1}, set(), set()),
    "one-order": ({"reshuffle": False}, {"batch order"}, set()),
    "batch-16": ({"batch": 16}, {"augmentation stream"}, set()),
    "longer": ({"epochs": 2}, {"batch order", "augmentation stream"}, set()),
    "larger-crop": ({"crop": 32}, {"augmentation stream"}, {"fc6"}),
    "one-gpu": ({"gpus": 1}, set(), {"conv1", "conv2", "conv3", "conv4"}),
    "no-conv4": ({"depth": "-conv4"}, set(), {"conv4"}),
    "flat-bias": ({"bias_init": 0.0}, set(), {"conv2", "conv4", "conv5", "fc6", "fc7"}),
    "wide-init": ({"init_std": 0.02}, set(), {"conv1", "conv2"}),
    "narrow-fc": ({"fc_width": 8}, set(), {"fc6", "fc7", "fc8"}),
    "bfloat16": ({"precision": "bfloat16"}, set(), set()),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study of many switches, each really run."""
    root = tmp_path_factory.mktemp("real")
    declared: dict[str, Any] = {
        "name": "switches", "title": "Switches", "purpose": "Tests.",
        "data": {"source": "synthetic", "train_limit": 120, "test_limit": 20}, "seeds": [0],
        "variants": {"base": SHORT} | {name: SHORT | changes for name, (changes, _, _) in SWITCHES.items()},
    }  # fmt: skip
    with (root / "study.yaml").open("w") as file:
        YAML(typ="safe").dump(declared, file)
    study = load_study(root / "study.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(root))
        pack_study(study, root)
        packed = images_of(study, root)
        for cell in study.cells:
            files = RunFolder.of(root / cell.results)
            train(study.variants[cell.variant], cell.seed, packed, files.training, 1e9, "test")
            evaluate(read_run(files), cell.key, packed, files.evaluation)
    return study, root


@pytest.mark.parametrize("variant", SWITCHES)
def test_a_run_moves_what_its_switch_declares_to_move_and_no_more(real: tuple[Study, Path], variant: str) -> None:
    study, root = real
    (pair,) = one(study, root, variant).pairs
    changes, moved, affected = SWITCHES[variant]
    assert pair.failures == []
    assert pair.unshown == []
    assert pair.changed == sorted(changes)
    assert set(pair.moved) == moved
    # conv5 of the one-GPU net has the shape that it has in two columns, though it sees other kernels.
    assert set(pair.affected) == affected
    assert not set(pair.equal_layers) & affected


def one(study: Study, root: Path, variant: str) -> Proof:
    found = {proof.variant: proof for proof in proofs(study, read_results(study, None, root))}
    return found[variant]


@pytest.fixture
def fake(tmp_path: Path) -> tuple[Study, Path]:
    """A study of many seeds whose results are made up, with the hashes that real ones have."""
    study = make_study(tmp_path)
    make_results(study, tmp_path)
    return study, tmp_path


def alter(root: Path, key: str, name: str, change: Callable[[Any], None]) -> None:
    folder = "eval" if name == "metrics" else "train"
    path = root / f"reports/components/runs/{key}/{folder}/{name}.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_an_honest_study_is_proven_on_every_seed(fake: tuple[Study, Path]) -> None:
    study, root = fake
    found = proofs(study, read_results(study, None, root))
    assert [proof.variant for proof in found] == [name for name in study.variants if name != study.baseline]
    assert {proof.verdict for proof in found} == {"proven"}
    assert {len(proof.pairs) for proof in found} == {len(study.seeds)}
    assert proof_warnings(found) == []


def test_an_undeclared_change_of_settings_in_the_baseline_fails_every_row(fake: tuple[Study, Path]) -> None:
    # Stale cells are not compared; a setting that only the record has is such a change too.
    study, root = fake
    alter(root, "base-0", "config", lambda values: values["settings"].update(workers=3))
    assert one(study, root, "no-lrn").verdict == "proven", "the number of workers changes no number"
    alter(root, "base-0", "config", lambda values: values["settings"].update(lr=0.02))
    proof = one(study, root, "no-lrn")
    assert 0 in proof.alone
    assert len(proof.pairs) == len(study.seeds) - 1


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("provenance", lambda v: v["hashes"].update(batch_order="x"), "batch order differs"),
        ("provenance", lambda v: v["hashes"].update(augmentation="x"), "augmentation stream differs"),
        ("provenance", lambda v: v["hashes"].update(data="x"), "data differs"),
        ("config", lambda v: v["data"].update(hash="x"), "images: "),
        ("provenance", lambda v: v["hashes"]["initial"].update(conv3="x"), "initial weights of conv3 differ"),
        ("provenance", lambda v: v["hashes"]["initial"].pop("fc7"), "fc7: the record of the variant does not fit"),
        ("provenance", lambda v: v["hashes"]["initial"].update(x="x"), "x: the record of the variant does not"),
        ("provenance", lambda v: v["machine"].update(threads=8), "threads: 1 against 8"),
        ("provenance", lambda v: v["machine"].update(device_name="Other"), "device: "),
        ("provenance", lambda v: v["versions"].update(torch="9"), "torch: 2.9.0 against 9"),
    ],
)  # fmt: skip
def test_whatever_else_differs_fails_the_row_and_is_named(
    fake: tuple[Study, Path], name: str, change: Callable[[Any], None], why: str
) -> None:
    study, root = fake
    alter(root, "no-lrn-2", name, change)
    proof = one(study, root, "no-lrn")
    assert proof.verdict == "fails"
    assert [pair.seed for pair in proof.pairs if pair.failures] == [2]
    (failure,) = next(pair.failures for pair in proof.pairs if pair.failures)
    assert failure.startswith(why)
    assert one(study, root, "no-overlap").verdict == "proven"
    results = read_results(study, None, root)
    row = next(row for row in proof_rows(proofs(study, results), study, results, root) if row[0] == "`no-lrn`")
    assert row[1].startswith("**fails** on 1 of 5: ")
    (warning,) = proof_warnings(proofs(study, results))
    assert "`no-lrn`" in warning


def test_a_stream_may_move_only_where_the_switch_says_so(fake: tuple[Study, Path]) -> None:
    study, root = fake
    for variant in ("no-augment", "no-dropout"):
        alter(root, f"{variant}-1", "provenance", lambda values: values["hashes"].update(augmentation="x"))
    assert one(study, root, "no-augment").verdict == "proven"
    assert one(study, root, "no-augment").pairs[1].moved == ["augmentation stream"]
    assert one(study, root, "no-dropout").verdict == "fails"
    alter(root, "no-augment-1", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    assert one(study, root, "no-augment").verdict == "fails"


def test_what_a_diverged_run_cannot_show_is_said_and_a_missing_one_left_open(fake: tuple[Study, Path]) -> None:
    study, root = fake
    diverge(root / "reports/components/runs/tanh-0", 3)
    alter(root, "tanh-0", "provenance", lambda v: v["hashes"].update(batch_order="x", augmentation="x"))
    for seed in study.seeds:
        path = root / f"reports/components/runs/no-decay-{seed}"
        path.rename(root / f"gone-{seed}")
    tanh, decay = one(study, root, "tanh"), one(study, root, "no-decay")
    assert tanh.verdict == "proven"
    assert [bool(pair.unshown) for pair in tanh.pairs] == [True, False, False, False, False]
    assert decay.verdict == "open"
    assert decay.alone == study.seeds


def test_the_report_and_its_csv_hold_the_proof(fake: tuple[Study, Path]) -> None:
    study, root = fake
    alter(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    text = render(study, None, root).read_text()
    section = text.split("## Only the switch changed")[1].split("\n## ")[0]
    for variant in study.variants:
        assert f"| `{variant}` |" in section
    assert "**fails** on 1 of 5: batch order differs" in section
    assert "More than the declared switch differs between the baseline and `no-lrn`" in text
    with (root / "reports/components/proof.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == PROOF_COLUMNS
    assert [(row["variant"], int(row["seed"])) for row in rows] == [
        (cell.variant, cell.seed) for cell in study.cells if cell.variant != study.baseline
    ]
    assert [(row["variant"], row["seed"], row["why"]) for row in rows if row["verdict"] != "proven"] == [
        ("no-lrn", "2", "batch order differs")
    ]
    results = read_results(study, None, root)
    assert len(proof_csv(proofs(study, results), study, results)) == len(rows)


# ---- rows that were not made alike, that no commit holds, and what made a number


@pytest.mark.parametrize(
    ("change", "condition", "values"),
    [
        (lambda c, p: c["data"].update(hash="x" * 64), "images", ["fashion-mnist-8k xxxxxxxxxxxx"]),
        (lambda c, p: p["machine"].update(device_name="Other"), "device", ["cpu: AMD EPYC", "cpu: Other"]),
        (lambda c, p: p["machine"].update(threads=8), "threads", ["1", "8"]),
        (lambda c, p: p["machine"].update(instructions="AVX512"), "instructions", ["AVX2", "AVX512"]),
        (lambda c, p: p["versions"].update(torch="9.9"), "torch", ["2.9.0", "9.9"]),
        (lambda c, p: p["versions"].update(numpy="9.9"), "numpy", ["2.0.0", "9.9"]),
        (lambda c, p: p["versions"].update(cuda="13.0"), "CUDA", ["none", "13.0"]),
    ],
)  # fmt: skip
def test_rows_that_were_not_made_alike_are_grouped_and_strict_fails(
    fake: tuple[Study, Path], change: Callable[[Any, Any], None], condition: str, values: list[str]
) -> None:
    study, root = fake
    declared.record(study, root)
    assert faults(Findings(study, read_results(study, None, root), None, root)) == []
    for key in ("no-lrn-1", "no-lrn-2"):
        folder = root / f"reports/components/runs/{key}"
        files = [folder / f"train/{name}.json" for name in ("config", "provenance")]
        contents = [json.loads(file.read_text()) for file in files]
        change(*contents)
        for file, content in zip(files, contents, strict=True):
            file.write_text(json.dumps(content))
    text = render(study, None, root).read_text()
    row = next(line for line in text.splitlines() if line.startswith(f"| **{condition}** |"))
    assert all(value in row for value in values)
    assert row.rstrip(" |").endswith("<br>`no-lrn` 1, 2"), "the runs of each value"
    assert f"The runs differ in {condition}" in text
    found = faults(Findings(study, read_results(study, None, root), None, root))
    assert found[0].startswith(f"{condition}: 2 values among the runs: ")
    assert "no-lrn-1, no-lrn-2" in found[0]
    assert found[1].startswith("no-lrn: more than its switch changed: ")


def test_a_run_of_changes_that_no_commit_holds_is_marked(fake: tuple[Study, Path]) -> None:
    study, root = fake
    declared.record(study, root)
    assert "†" not in render(study, None, root).read_text()
    alter(root, "no-lrn-2", "provenance", lambda values: values.update(dirty="abcdef" + "0" * 58))
    text = render(study, None, root).read_text()
    (row,) = [line for line in text.split("## Variants")[1].splitlines() if line.startswith("| `no-lrn`")][:1]
    assert row.startswith("| `no-lrn` † |")
    assert "> **Careful.** † Made with changes that their commit does not hold" in text
    assert "`no-lrn` 2. The hash" in text
    assert text.count("` † |") == 1
    with (root / "reports/components/cells.csv").open(newline="") as file:
        marked = {(r["variant"], r["seed"]): r["dirty"] for r in csv.DictReader(file) if r["dirty"]}
    assert marked == {("no-lrn", "2"): "abcdef" + "0" * 58}
    assert faults(Findings(study, read_results(study, None, root), None, root)) == [
        "no-lrn: made with changes that its commit does not hold: no-lrn-2"
    ]


def test_strict_is_an_exit_status_and_the_report_is_there_all_the_same(
    fake: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, root = fake
    declared.record(study, root)
    monkeypatch.chdir(root)
    settings = study.variants["base"].model_dump()
    (root / "params.yaml").write_text(json.dumps(settings | {"seed": 0}))
    words = ["report", "experiments/study.yaml", "--strict"]
    assert CliRunner().invoke(app, words).exit_code == 0
    alter(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(batch_order="x"))
    (root / study.report).unlink()
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "strict: no-lrn: more than its switch changed: batch order differs" in done.output
    assert (root / study.report).exists()
    assert CliRunner().invoke(app, words[:2]).exit_code == 0


def test_strict_fails_where_runs_are_missing_or_stale_and_not_where_they_diverged(fake: tuple[Study, Path]) -> None:
    study, root = fake
    declared.record(study, root)
    cells = root / study.folder / "runs"
    diverge(cells / "tanh-0", 3)
    assert faults(Findings(study, read_results(study, None, root), None, root)) == []
    for key in ("no-lrn-1", "no-decay-0", "no-decay-4"):
        shutil.rmtree(cells / key)
    assert faults(Findings(study, read_results(study, None, root), None, root)) == [
        "runs: 3 missing, of 40 declared: no-lrn-1, no-decay-0, no-decay-4"
    ]
    alter(root, "one-gpu-2", "config", lambda values: values["settings"].update(lr=0.02))
    assert faults(Findings(study, read_results(study, None, root), None, root))[0] == (
        "runs: 3 missing and 1 stale, of 40 declared: no-lrn-1, one-gpu-2, no-decay-0 and 1 more; stale: its result is "
        "of other settings: lr"
    )
    early = faults(Findings(study, read_results(study, None, root, early=True), None, root))
    assert not any(line.startswith("runs:") for line in early), "a look before all runs are there was asked for"


def test_runs_of_another_numerics_identity_are_stale_and_counted_alike_everywhere(
    fake: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, root = fake
    declared.record(study, root)
    monkeypatch.chdir(root)
    (root / "params.yaml").write_text(json.dumps(study.variants["base"].model_dump() | {"seed": 0}))
    alter(root, "no-lrn-2", "provenance", lambda values: values["hashes"].update(code="y" * 64))
    alter(root, "tanh-0", "metrics", lambda values: values.update(code="z" * 64))
    alter(root, "tanh-1", "metrics", lambda values: values.pop("code"))
    cells = {cell.key: cell for cell in read_results(study, None, root).cells}
    assert [key for key, cell in cells.items() if cell.status == "stale"] == ["no-lrn-2", "tanh-0", "tanh-1"]
    assert "numerics identity is yyyyyyyyyyyy" in cells["no-lrn-2"].note
    assert "evaluated by code zzzzzzzzzzzz" in cells["tanh-0"].note
    assert "evaluated by code unknown" in cells["tanh-1"].note
    assert one(study, root, "no-lrn").alone == [2]
    words = ["report", "experiments/study.yaml", "--strict"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "strict: runs: 3 stale, of 40 declared: no-lrn-2, tanh-0, tanh-1" in done.output
    assert doctors_stale_runs() == 3
    monkeypatch.setattr("harness.report.cells.identity", lambda scope: "n" * 64)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert "strict: runs: 40 stale, of 40 declared: " in done.output
    assert "; stale: its numerics identity is " in done.output
    assert doctors_stale_runs() == 40


def doctors_stale_runs() -> int:
    """Stale runs of all reasons, as `harness doctor` counts them."""
    done = CliRunner().invoke(app, ["doctor"], catch_exceptions=False)
    return sum(int(number) for number in re.findall(r"^stale: (\d+) runs?: ", done.output, re.MULTILINE))


def test_a_pair_of_two_numerics_identities_is_no_proof(fake: tuple[Study, Path]) -> None:
    study, root = fake
    results = read_results(study, None, root)
    base, run = (results.finished(name)[0] for name in ("base", "no-lrn"))
    hashes = run.hashes.model_copy(update={"code": "y" * 64})
    other = dataclasses.replace(run, provenance=run.provenance.model_copy(update={"hashes": hashes}))
    nets = study.variants["base"], study.variants["no-lrn"]
    assert compare("no-lrn", ["lrn"], nets, base, run).failures == []
    (failure,) = compare("no-lrn", ["lrn"], nets, base, other).failures
    assert failure.startswith("numerics identity: ")
    close = run.hashes.model_copy(update={"code": run.hashes.code[:-1] + "y"})  # equal as far as it is shown
    other = dataclasses.replace(run, provenance=run.provenance.model_copy(update={"hashes": close}))
    assert compare("no-lrn", ["lrn"], nets, base, other).failures == ["numerics identity differs"]


def test_errors_of_other_weights_than_the_recorded_ones_are_marked(fake: tuple[Study, Path]) -> None:
    study, root = fake
    declared.record(study, root)
    assert "Evaluated with weights" not in render(study, None, root).read_text()
    alter(root, "no-lrn-2", "metrics", lambda values: values.update(weights="w" * 64))
    warnings = [line for line in render(study, None, root).read_text().splitlines() if "Evaluated with weights" in line]
    assert len(warnings) == 1
    assert warnings[0].endswith("`no-lrn` 2.")
    assert faults(Findings(study, read_results(study, None, root), None, root)) == [
        "weights: evaluated with others than the recorded ones: no-lrn-2"
    ]


MACHINE = {"cpu": "AMD EPYC", "instructions": "AVX2", "torch": "2.9.0"}


@pytest.mark.parametrize(
    ("proof", "sentence"),
    [
        ({}, "`aaaaaaaaaaaa`, and the present training code is the code that the identity began with."),
        (
            {"commit": "0123456789abcdef", "machine": MACHINE, "probes": 12, "against": "b" * 64, "when": "2026-11-28"},
            "`aaaaaaaaaaaa`, to which the present training code was proven equal by 12 probes that came out bitwise "
            "identical on AMD EPYC (AVX2, torch 2.9.0) at commit `0123456789ab` on 2026-11-28.",
        ),
        (None, "The present training code (digest `dddddddddddd`) is of no known numerics identity"),
    ],
)
def test_the_report_says_under_which_numerics_identity_and_by_which_proof(
    fake: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch, proof: dict[str, Any] | None, sentence: str
) -> None:
    study, root = fake
    entered = Known()
    if proof is not None:
        entered = entered.entered("train", "a" * 64, known.Proof(digest="d" * 64, **proof))
    monkeypatch.setattr("harness.report.identity_text.digest", lambda scope: "d" * 64)
    monkeypatch.setattr("harness.report.identity_text.read_known", lambda: entered)
    text = render(study, None, root).read_text()
    (line,) = [line for line in text.splitlines() if sentence in line]
    assert line.startswith("The runs were made under numerics identity" if proof is not None else sentence)
    assert text.index(line) < text.index("| condition |")
    none = identity_text(Results([], None))
    assert none.startswith("No run was made under" if proof is not None else sentence)


def test_strict_fails_where_the_declaration_is_not_the_one_that_was_seen(fake: tuple[Study, Path]) -> None:
    study, root = fake
    file = declared.path_of(study)

    def found(now: Study, early: bool = False) -> list[str]:
        return faults(Findings(now, read_results(now, None, root, early), None, root))

    assert found(study) == [f"declaration: {file} holds none; `harness check` writes it down"]
    declared.record(study, root)
    assert found(study) == []
    (changed,) = found(make_study(root, STUDY.replace("seeds:", "margin: 0.5\nseeds:")))
    assert changed == f"declaration: changed since {file} was written, in margin; `harness check` writes it down"
    looser = make_study(root, STUDY.replace("seeds:", "margin: 0.5\nconfidence: 0.9\nseeds:"))
    assert "in confidence, margin; `harness check`" in found(looser)[0]
    assert found(looser, early=True) == found(looser), "an early look is held to its declaration too"
    declared.record(looser, root)
    assert found(looser) == []


def test_strict_passes_on_the_studies_whose_reports_are_here() -> None:
    for path in sorted((REPOSITORY / "experiments").rglob("study.declared.json")):
        study = load_study(path.with_name("study.yaml"))
        lines = faults(Findings(study, read_results(study, None, REPOSITORY), None, REPOSITORY))
        assert not [line for line in lines if line.startswith(("runs:", "declaration:"))], path


def test_each_number_carries_its_runs_and_their_command(fake: tuple[Study, Path]) -> None:
    study, root = fake
    render(study, None, root)
    cells = {cell.key: cell.run for cell in read_results(study, None, root).cells}
    for name in ("variants.csv", "images.csv"):
        with (root / "reports/components" / name).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        for row in rows:
            runs = dict(part.split(": ") for part in row["runs"].split("; "))
            assert list(runs) == [str(seed) for seed in study.seeds]
            for seed, fingerprint in runs.items():
                run = cells[f"{row['variant']}-{seed}"]
                assert run is not None
                assert run.fingerprint.startswith(fingerprint)
                assert len(fingerprint) == 12
            both = "base" if row["variant"] == "base" else f"{row['variant']},base"
            assert row["command"] == f"harness run components --force --only {both}"
    with (root / "reports/components/cells.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            run = cells[f"{row['variant']}-{row['seed']}"]
            assert run is not None
            assert (row["fingerprint"], row["command"]) == (run.fingerprint, run.provenance.command)


COMPUTES = ("net/lrn.py", "evaluate.py", "data/sources.py")
"""Some of the code that computes numbers."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a study and some of the code, committed; the working folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")] + ["HARNESS_ALLOW_DIRTY"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    code = provenance._code()
    assert {Path(name).as_posix().partition("/harness/")[2] for name in code} >= set(COMPUTES)
    assert not [name for name in code if "/report/" in name]
    monkeypatch.setattr(provenance, "_code", lambda: [f"harness/{name}" for name in COMPUTES])
    make_study(tmp_path)
    for name in ("net/lrn.py", "evaluate.py", "report/words.py"):
        (tmp_path / "harness" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "harness" / name).write_text("first = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    return tmp_path


def git(*words: str) -> str:
    who = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org"]
    return subprocess.run(["git", *who, *words], capture_output=True, text=True, check=True).stdout


STUDY_FILE = Path("experiments/study.yaml")


def test_a_committed_study_refuses_code_that_no_commit_holds(repository: Path) -> None:
    check_clean(None, [STUDY_FILE])
    check_clean(True, [])
    assert provenance.source() == {"commit": git("rev-parse", "HEAD").strip(), "dirty": None}
    (repository / "harness/report/words.py").write_text("another = 1\n")
    check_clean(None, [STUDY_FILE])  # another report makes no other run
    (repository / "harness/net/lrn.py").write_text("second = 1\n")
    first = provenance.source()["dirty"]
    assert first
    with pytest.raises(UserError, match=r"--require-clean: uncommitted changes in harness/net/lrn\.py;"):
        check_clean(None, [STUDY_FILE])
    allowed = r"take --allow-dirty, or HARNESS_ALLOW_DIRTY=1 in the environment under dvc"
    with pytest.raises(UserError, match=f"{allowed}: the runs then record"):
        check_clean(True, [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_DIR", str(repository / "none"))
        with pytest.raises(UserError, match=f"no git commit .* {allowed}$"):
            check_clean(True, [])
    check_clean(False, [STUDY_FILE])
    check_clean(None, [])  # a candidate, or the settings of a verification
    (repository / "harness/net/lrn.py").write_bytes(b"# caf\xe9\n")
    assert provenance.source()["dirty"] not in (None, first), "another change has another hash"
    git("checkout", "-q", "harness")
    (repository / "harness/data").mkdir()
    (repository / "harness/data/sources.py").write_text("new = 1\n")
    with pytest.raises(UserError, match=r"harness/data/sources\.py"):
        check_clean(None, [STUDY_FILE])


def test_a_study_that_is_not_committed_runs_with_any_code(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "harness/evaluate.py").write_text("second = 1\n")
    with pytest.raises(UserError, match=r"harness/evaluate\.py"):
        check_clean(None, [STUDY_FILE])
    monkeypatch.setenv("HARNESS_ALLOW_DIRTY", "1")
    check_clean(None, [STUDY_FILE])
    monkeypatch.delenv("HARNESS_ALLOW_DIRTY")
    with STUDY_FILE.open("a") as file:
        file.write("# tried\n")
    check_clean(None, [STUDY_FILE])
    new = repository / "experiments/-new study/study.yaml"
    new.parent.mkdir()
    new.write_text(STUDY_FILE.read_text())
    check_clean(None, [new])
    assert not committed([new])


def test_training_a_committed_study_refuses_and_an_allowed_run_records_the_changes(repository: Path) -> None:
    (repository / "experiments/study.yaml").write_text(json.dumps(FOLDER_STUDY))
    (repository / "params.yaml").write_text(json.dumps(SHORT | {"seed": 0}))
    git("add", "-A")
    git("commit", "-qm", "study")
    pack_study(load_study(STUDY_FILE), repository)
    (repository / "harness/net/lrn.py").write_text("second = 1\n")
    words = ["train", "experiments/study.yaml:base", "--seed", "0", "--out", "out/base-0"]
    with pytest.raises(UserError, match="--require-clean"):
        CliRunner().invoke(app, words, catch_exceptions=False)
    assert not (repository / "out").exists()
    done = CliRunner().invoke(app, [*words, "--allow-dirty"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = json.loads((repository / "out/base-0/provenance.json").read_text())
    assert record["dirty"] == provenance.source()["dirty"]
    assert re.fullmatch("[0-9a-f]{64}", record["dirty"])
    # The candidate is what code is tried with before it is committed; its images are the default study's.
    tried = CliRunner().invoke(app, ["train", "params.yaml", "--seed", "0", "--out", "out/candidate"])
    assert tried.exit_code == 0, tried.output
    assert json.loads((repository / "out/candidate/provenance.json").read_text())["dirty"] == record["dirty"]


FOLDER_STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 20}, "seeds": [0], "variants": {"base": SHORT},
}  # fmt: skip
