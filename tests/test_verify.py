"""Any row of a report can be made again and compared to the bit; what was altered, or came out otherwise, is found."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clones import ROOT, call, commit, environment, write
from conftest import TINY, tiny
from fake_study import alter, make_run
from typer.testing import CliRunner

from harness import bits
from harness.cli import app
from harness.data.store import images_of
from harness.errors import UserError
from harness.process import LIMITS
from harness.record import Run, RunFolder, read_run
from harness.report.build import render
from harness.report.isolation import Noise, read_verified, verified_text
from harness.report.runs import read_results
from harness.settings.load import find_study, load_candidate, load_study
from harness.settings.schema import Settings
from harness.verify.match import Made, Match, compare, noise_of, show
from harness.verify.rerun import other_bits
from harness.verify.verify import WITHIN, lines, targets, verify

pytestmark = pytest.mark.slow

STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 60},
    "seeds": [0, 1], "variants": {"base": TINY, "no-lrn": TINY | {"lrn": False}},
}  # fmt: skip

EPOCHS, STEPS = 2, 4
"""Of a run: 108 images in batches of 32."""

RUN_ALL = """
from pathlib import Path
from harness.pipeline import named_run
from harness.data.store import pack_study
from harness.settings.load import load_run, load_study
study = load_study(Path("experiments/study.yaml"))
root = Path(".")
pack_study(study, root)
for cell in study.cells:
    if cell.key != "no-lrn-1":
        spec = f"{study.name}:{cell.variant}"
        named = load_run(spec)
        named_run.train(named, spec, cell.seed, None, None, 1e9, False, root)
        named_run.evaluate(named, spec, None, cell.seed, None, root)
"""
"""In one process, which starts in seconds: every run but one, which stays missing."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose tiny study has run, but for one cell; the code committed."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "experiments/wide").mkdir(parents=True)
    write(folder / "experiments/study.yaml", STUDY)
    call(folder, "git", "init", "-q", "-b", "main")
    commit(folder)
    call(folder, "python", "-c", RUN_ALL)
    return folder


@pytest.fixture
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to change: the working folder."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder


Verify = Callable[..., tuple[bool, str]]


@pytest.fixture
def check(project: Path, capfd: pytest.CaptureFixture[str]) -> Verify:
    """Verify in the project: whether all came out as recorded, and what was printed."""

    def go(row: str | None = "base", seed: int | None = 0, **options: Any) -> tuple[bool, str]:
        study = load_study(find_study(Path("reports/tiny.md")))
        chosen = targets(study, row, seed, row is None)
        values = {"jobs": 1, "steps": None, "here": False, "threads": None} | options
        capfd.readouterr()
        status = verify(study, chosen, Path("."), **values)
        return not status, capfd.readouterr().out

    return go


RECORD = Path("reports/tiny/runs/base-0/train")
VERIFIED = Path("reports/tiny/verified.json")


def stored(project: Path, key: str = "base-0") -> dict[str, Any]:
    outcome: dict[str, Any] = json.loads((project / VERIFIED).read_text())[key]
    return outcome


def unchanged(project: Path, before: dict[Path, bytes]) -> None:
    """Nothing in the repository is another than before but the verifications; no working tree is left."""
    after = snapshot(project)
    assert {path for path in before if after.get(path) != before[path]} == set()
    new = {path.relative_to(project).as_posix() for path in after.keys() - before.keys()}
    assert new <= {"reports/tiny/verified.json", ".checkpoints/verified-tiny.lock"}
    assert len(call(project, "git", "worktree", "list").splitlines()) == 1


def snapshot(project: Path) -> dict[Path, bytes]:
    ignored = {".git", "__pycache__"}
    return {
        path: path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and ignored.isdisjoint(path.relative_to(project).parts)
    }


def test_a_row_comes_out_as_recorded_from_its_commit_and_its_report_says_so(project: Path, check: Verify) -> None:
    (project / "params.yaml").write_text(json.dumps(TINY | {"seed": 0}))
    study = load_study(Path("experiments/study.yaml"))
    details = project / "reports/tiny/details.md"

    def made() -> Path:
        return render(study, load_candidate(Path("params.yaml")), Path("."))

    def text() -> str:
        return verified_text(study, read_results(study, None, project).of("base"), project)

    path = made()
    assert text() == "not yet"
    source = (project / "harness/train/recipe.py").read_text()
    (project / "harness/train/recipe.py").write_text(f"{source}\nQUARTERS = 1 / 0\n")  # the code has moved on
    before = {
        file: content for file, content in snapshot(project).items() if file.suffix == ".py" or "runs" in file.parts
    }
    agreed, output = check()
    assert agreed
    assert f"base-0: bitwise identical, all {EPOCHS} epochs, {EPOCHS * STEPS} steps" in output
    for name in ("data", "code", "initial weights (8 layers)", "batch order", "augmentation stream", "loss stream",
                 "final weights", "history", "metrics (", "predictions"):  # fmt: skip
        assert name in output
    outcome = stored(project)
    assert outcome["verified"]
    assert (outcome["epochs"], outcome["of"], outcome["differs"]) == (2, 2, [])
    assert outcome["commit"] == call(project, "git", "rev-parse", "HEAD").strip()
    assert outcome["machine"]["threads"] == 1
    assert text() == f"1 of 2 bitwise identical ({read_verified(project / VERIFIED)['base-0'].place})"
    assert text() in details.read_text()
    after = snapshot(project)
    assert before.items() <= after.items()
    assert len(call(project, "git", "worktree", "list").splitlines()) == 1
    # It is what the report's own command makes, so that DVC finds nothing else.
    made()
    assert snapshot(project) == after
    # A report that cannot be rendered stays; a quick look that agrees takes nothing back.
    (project / "reports/tiny/runs/no-lrn-0/eval/metrics.json").write_text("{")
    agreed, output = check(steps=1)
    assert agreed
    assert "cannot be rendered" in output
    assert stored(project)["epochs"] == 2
    assert path.read_bytes() == after[project / path]
    (project / "reports/tiny/runs/no-lrn-0/eval/metrics.json").unlink()
    # Another record was not verified.
    alter(RECORD / "provenance.json", lambda values: values["hashes"].update(augmentation="0" * 64))
    assert text() == "not yet"


def test_a_run_of_a_processor_with_narrower_instructions_is_made_again_with_those(
    project: Path, check: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = json.loads((RECORD / "provenance.json").read_text())["hashes"]["weights"]
    shutil.rmtree(project / "reports/tiny/runs/base-0")
    shutil.rmtree(project / "runs")
    with monkeypatch.context() as narrow:
        for name, level in LIMITS["DEFAULT"].items():
            narrow.setenv(name, level)
        call(project, "python", "-c", RUN_ALL.replace('!= "no-lrn-1"', '== "base-0"'))
    for name in LIMITS["DEFAULT"]:
        monkeypatch.delenv(name, raising=False)
    assert json.loads((RECORD / "provenance.json").read_text())["hashes"]["weights"] != native, (
        "other instructions, other bits"
    )
    agreed, output = check(steps=STEPS)
    assert agreed, output
    assert stored(project)["machine"]["instructions"] == "DEFAULT"
    # Who asks for others gets them, and is told of it.
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    agreed, output = check(steps=STEPS)
    assert not agreed
    assert "likely cause: instructions DEFAULT -> AVX2" in output


def test_records_of_other_bits_are_told_of_before_anything_runs(tmp_path: Path) -> None:
    mine, probe = torch.backends.cpu.get_cpu_capability(), bits.probe()

    def run(name: str, settings: Settings, **machine: str) -> Run:
        make_run(tmp_path / name, settings, 0)
        folder = RunFolder.of(tmp_path / name)
        alter(folder.provenance, lambda values: values["machine"].update(machine))
        return read_run(folder)

    assert not other_bits([run("same", tiny(), instructions=mine)])
    (line,) = other_bits([run("narrow", tiny(), instructions="DEFAULT")] * 2)
    assert mine in line
    assert all(f"{name}={level}" in line for name, level in LIMITS["DEFAULT"].items())
    portable = tiny(bits="portable")
    assert not other_bits([run("portable", portable, instructions="other", bits=bits.text(probe))])
    (line,) = other_bits([run("differs", portable, bits=bits.text(probe | {"linear": "0" * 8, "loss": "0" * 8}))])
    assert "(linear, loss)" in line
    if not torch.cuda.is_available():
        assert len(other_bits([run("cuda", tiny(), device="cuda:0")])) == 1


def test_a_machine_with_other_bits_is_held_against_the_noise_of_the_seeds(
    project: Path, check: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it had been recorded on another processor, which came to other weights and one other answer.
    def elsewhere(values: dict[str, Any]) -> None:
        values["machine"]["cpu"] = "Other"
        values["hashes"] |= {"weights": "0" * 64, "losses": "0" * 64}

    alter(RECORD / "provenance.json", elsewhere)
    metrics = RECORD.parent / "eval/metrics.json"
    alter(metrics, lambda values: values.update(test_top1=values["test_top1"] + 1))
    result = CliRunner().invoke(app, ["verify", "tiny", "base", "--seed", "0"])
    outcome = stored(project)["noise"]
    assert outcome["low"] <= outcome["value"] <= outcome["high"]
    assert (result.exit_code, outcome["name"], outcome["runs"]) == (WITHIN, "test_top1", 2)
    study = load_study(Path("experiments/study.yaml"))
    shown = verified_text(study, read_results(study, None, project).of("base"), project)
    assert shown.startswith("1 of 2 with other bits, within noise (")
    # Two runs that agree so well leave no room for a third.
    for seed in (0, 1):
        alter(RECORD.parents[1] / f"base-{seed}/eval/metrics.json", lambda values: values.update(test_top1=5.0))
    assert CliRunner().invoke(app, ["verify", "tiny", "base", "--seed", "0"]).exit_code == 1
    assert stored(project)["noise"]["high"] < stored(project)["noise"]["value"]


def test_the_first_step_at_which_a_run_parts_from_its_record_is_named(project: Path, check: Verify) -> None:
    path = RECORD / "losses.npy"
    losses = np.load(path, allow_pickle=False)
    assert losses.shape == (EPOCHS * STEPS,)
    step = STEPS + 2  # from 0: the third of the second epoch
    before, losses[step] = losses[step], np.nextafter(losses[step], np.float32(9))
    np.save(path, losses)
    agreed, output = check(steps=step + 1)
    assert not agreed
    assert f"part in epoch 2, step 3 of {STEPS}: loss {losses[step]!s} -> {before!s}" in output
    assert "history.csv differs" not in output
    assert (stored(project)["first_epoch"], stored(project)["first_step"]) == (2, [2, 3])
    assert "losses.npy is not what the record's hash" in output
    assert stored(project)["differs"] == ["losses"]
    study = load_study(Path("experiments/study.yaml"))
    shown = verified_text(study, read_results(study, None, project).of("base"), project)
    assert shown.startswith("**differs**: `base-0` (from epoch 2, step 3 on: ")


def test_a_run_of_other_images_is_not_made_again_and_the_exit_status_is_1(project: Path) -> None:
    alter(RECORD / "provenance.json", lambda values: values["hashes"].update(data="0"))
    done = CliRunner().invoke(app, ["verify", "experiments/study.yaml", "base", "--seed", "0"])
    assert (done.exit_code, done.stderr) == (1, "")
    assert stored(project)["differs"] == ["data"]
    assert "likely cause: other images" in done.stdout


def test_the_first_steps_of_a_run_are_made_with_its_bits(project: Path) -> None:
    data = {"source": "fashion-mnist-8k", "train_limit": 120, "test_limit": 60}
    # With these settings both kinds of bits differ in the second step.
    grey = TINY | {"width": 0.125, "fc_width": 32, "batch": 16, "colour": 0, "bias_init": 1, "bits": "portable"}
    write(project / "experiments/wide/study.yaml",
          STUDY | {"name": "wide", "data": data, "seeds": [0], "variants": {"base": grey}})  # fmt: skip
    run_all = RUN_ALL.replace("experiments/study", "experiments/wide/study")
    call(project, "python", "-c", f"from harness.process import hold\nhold('portable')\n{run_all}")
    study = load_study(find_study(Path("wide")))
    chosen = targets(study, "base", 0, False)
    assert verify(study, chosen, Path("."), jobs=1, steps=STEPS - 1, here=True, threads=None) == 0


def test_the_present_code_is_held_against_the_record_where_it_is_asked_for(project: Path, check: Verify) -> None:
    recipe = project / "harness/train/recipe.py"
    source = recipe.read_text()
    recipe.write_text(source + "UNUSED = 'code that changes no number, as far as anybody has proven'\n")
    before = snapshot(project)
    agreed, output = check(here=True, steps=1)
    assert agreed
    assert "differ: code " in output
    check(here=True, steps=1, threads=2)
    assert stored(project)["machine"]["threads"] == 2
    unchanged(project, before)
    recipe.write_text(source.replace("lr = weights_lr * row.lr_factor", "lr = 1.5 * weights_lr * row.lr_factor"))
    assert recipe.read_text() != source
    agreed, output = check(here=True, steps=2)
    assert not agreed
    assert f"part in epoch 1, step 2 of {STEPS}: loss " in output
    assert "the present code is not the recorded one" in output


def test_all_rows_are_made_again_at_once_and_one_without_a_result_is_named(project: Path) -> None:
    done = CliRunner().invoke(app, ["verify", "reports/tiny.md", "--all", "--quick", "1", "-j", "2"])
    assert done.exit_code == 0
    assert "no-lrn-1: no result of no-lrn-1" in done.output
    assert f"base-1: bitwise identical, steps 1 to 1 of {EPOCHS * STEPS}" in done.output
    assert read_verified(project / VERIFIED).keys() == {"base-0", "base-1", "no-lrn-0"}


def test_packed_images_are_made_where_they_are_missing_and_hashed_again(project: Path, check: Verify) -> None:
    shutil.rmtree(project / "data")
    assert check(steps=1)[0]
    packed = images_of(load_study(Path("experiments/study.yaml")), project)
    assert packed.content_hash() == packed.manifest.hash
    images = packed.folder / "train.images.u8"
    content = bytearray(images.read_bytes())
    content[1000] ^= 1
    images.write_bytes(content)
    with pytest.raises(UserError, match=r"data/synthetic-[0-9a-f]{12}: damaged"):
        check(steps=1)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("provenance", {"commit": "0" * 40}, "base-0: commit 000000000000 is not in this repository"),
        ("provenance", {"commit": None}, "base-0: its record names no commit"),
        ("config", {"settings": {"no_such": 1}}, "base-0: cannot be re-run: .*no_such"),
    ],
)
def test_code_that_cannot_be_had_or_does_not_run_is_told_in_one_line(
    project: Path, check: Verify, file: str, change: dict[str, Any], message: str
) -> None:
    alter(RECORD / f"{file}.json", lambda values: values.update(change))
    with pytest.raises(UserError, match=message):
        check(steps=1)
    assert not (project / VERIFIED).exists()


def test_a_mistake_is_told_in_one_line(project: Path) -> None:
    before = snapshot(project)
    for target, row, seed, everything, message in (
        ("reports/none.md", "base", None, False, "reports/none.md: "),
        ("reports/tiny.md", None, None, False, "got no row; allowed: --all, or one of base, no-lrn, candidate"),
        ("reports/tiny.md", "base", None, True, "got the row base and --all"),
        ("reports/tiny.md", "no-lnr", None, False, "tiny has no row 'no-lnr'; allowed: base, no-lrn, candidate"),
        ("experiments/study.yaml", "base", 7, False, "--seed: got 7; allowed: 0, 1"),
        ("reports/tiny", "candidate", 0, False, "--seed: got 0"),
        ("reports/tiny", "no-lrn", 1, False, "no result of no-lrn-1"),
        ("reports/tiny", "candidate", None, False, "no result of candidate"),
    ):
        with pytest.raises(UserError) as mistake:  # noqa: PT012 - whichever step finds it
            study = load_study(find_study(Path(target)))
            chosen = targets(study, row, seed, everything)
            verify(study, chosen, Path("."), jobs=1, steps=1, here=False, threads=None)
        assert message in str(mistake.value)
    unchanged(project, before)


def test_a_verification_that_is_stopped_leaves_nothing(project: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = snapshot(project)
    words = [sys.executable, "-m", "harness", "verify", "reports/tiny.md", "base"]
    process = subprocess.Popen(
        words, cwd=project, env=environment(project) | {"TMPDIR": str(temporary)}, stderr=subprocess.PIPE, text=True
    )
    limit = time.monotonic() + 300
    while len(call(project, "git", "worktree", "list").splitlines()) < 2:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in errors
    unchanged(project, before)
    assert list(temporary.iterdir()) == []


# ---- what is compared, and what is said to be the cause: without making a run again


@pytest.fixture
def record(tmp_path: Path) -> Run:
    """A run of five epochs, of three steps each."""
    make_run(tmp_path / "base-0", tiny(epochs=5), 0)
    folder = RunFolder.of(tmp_path / "base-0")
    np.save(folder.losses, np.arange(15, dtype=np.float32))
    return read_run(folder)


def again(record: Run, whole: bool = True, hashes: dict[str, Any] | None = None, **changes: Any) -> Match:
    """The run held against itself, made again to the bit but for `changes`."""
    made = Made.of(record)
    return compare(record, replace(made, whole=whole, hashes={**made.hashes, **(hashes or {})}, **changes), here=False)


def parted(record: Run, epoch: int, column: str, value: float) -> list[dict[str, float]]:
    return [row | ({column: value} if row["epoch"] >= epoch else {}) for row in record.history]


def test_a_run_that_comes_out_the_same_agrees_in_everything(record: Run) -> None:
    history = [row | ({"train_loss": math.nan} if row["epoch"] > 1 else {}) for row in record.history]
    assert again(replace(record, history=history)).outcome.verified, "what is no number agrees with itself"
    match = again(record)
    assert match.outcome.verified
    assert (match.differs, match.environment, match.outcome.first_epoch, match.outcome.cause) == ({}, {}, None, "")
    assert {"data", "code", "batch order", "augmentation stream", "loss stream", "final weights", "history", "losses",
            "predictions", "metrics (11)", "initial weights (8 layers)"} == set(match.outcome.agrees)  # fmt: skip


@pytest.mark.parametrize(
    ("machine", "versions", "cause"),
    [
        ({"threads": 2}, {}, "threads 1 -> 2"),
        ({"cpu": "Other", "instructions": "AVX512"}, {}, "cpu AMD EPYC -> Other, instructions AVX2 -> AVX512"),
        ({"threads": 4}, {"torch": "9.9"}, "threads 1 -> 4, torch 2.9.0 -> 9.9"),
        ({}, {}, "nothing that is recorded explains it"),
    ],
)
def test_the_environment_is_the_likely_cause_of_other_losses(
    record: Run, machine: dict[str, Any], versions: dict[str, Any], cause: str
) -> None:
    match = again(
        record,
        machine=record.provenance.machine | machine,
        versions=record.provenance.versions | versions,
        hashes={"losses": "0", "weights": "0"},
        history=parted(record, 4, "validation_loss", 0.5),
    )
    assert match.outcome.first_epoch == 4
    assert match.outcome.cause.startswith(cause)
    line = f"  part in epoch 4: validation_loss {record.history[3]['validation_loss']} -> 0.5"
    assert line in lines("base-0", match, dirty=False)


@pytest.mark.parametrize(
    ("hashes", "cause"),
    [
        ({"batch_order": "0"}, "torch 2.9.0 -> 9.9"),
        ({"initial": {"conv1": "0"}}, "torch 2.9.0 -> 9.9"),
        ({"code": "0", "weights": "0"}, "the code at the recorded commit is not the recorded one"),
        ({"data": "0", "code": "0"}, "other images"),
        ({"weights": "0"}, "every loss agrees, so the weights should: the record may have been altered"),
        ({"losses": "0"}, "torch 2.9.0 -> 9.9"),
    ],
)
def test_the_first_thing_on_the_way_that_differs_says_why(record: Run, hashes: dict[str, Any], cause: str) -> None:
    match = again(record, hashes=hashes, versions=record.provenance.versions | {"torch": "9.9"})
    assert not match.outcome.verified
    assert match.outcome.cause.startswith(cause)
    assert "  no step's loss, of 15, and no epoch's row of history.csv differs, of 5" in lines("base-0", match, False)


def test_a_run_made_with_uncommitted_changes_says_so(record: Run) -> None:
    changed = replace(record, provenance=record.provenance.model_copy(update={"dirty": "abc" * 10}))
    cause = again(changed, hashes={"code": "0"}).outcome.cause
    assert cause == "the run was made with changes that its commit does not hold (hash abcabcabcabc)"


def test_other_metrics_of_the_same_weights_are_the_evaluations(record: Run) -> None:
    outcome = again(record, metrics={**Made.of(record).metrics, "test_top1": 1.0}).outcome
    assert outcome.differs == ["metric test_top1"]
    assert outcome.cause.startswith("the evaluation: the weights agree")


def test_a_history_that_ends_early_or_late_is_found(record: Run) -> None:
    short = again(record, history=record.history[:3]).outcome
    assert (short.first_epoch, short.verified) == (4, False)
    first = again(record, whole=False, history=record.history[:3]).outcome
    assert (first.first_epoch, first.verified, first.epochs, first.of) == (None, True, 3, 5)
    longer = replace(record, history=record.history[:3])
    assert compare(longer, Made.of(record), here=False).outcome.first_epoch == 4


@pytest.mark.parametrize(
    ("step", "row", "parts", "shown"),
    [
        # 3 steps an epoch; steps from 0, rows from 1
        (5, None, (2, [2, 3]), ["part in epoch 2, step 3 of 3: loss 5.0 -> 7.0"]),
        (5, 2, (2, [2, 3]), ["part in epoch 2, step 3 of 3: loss 5.0 -> 7.0", "history.csv differs from epoch 2: "]),
        (6, 2, (2, [3, 1]), ["part in epoch 2: validation_top1 ", "the losses part in epoch 3, step 1 of 3: loss 6.0"]),
        (None, 4, (4, None), ["part in epoch 4: validation_top1 "]),
    ],
)
def test_the_first_place_at_which_a_run_parts_is_a_step_or_an_epochs_row(
    record: Run, step: int | None, row: int | None, parts: tuple[int, Any], shown: list[str]
) -> None:
    losses = np.arange(15, dtype=np.float32)
    losses[15 if step is None else step :] = 7
    match = again(record, losses=losses, history=parted(record, row or 6, "validation_top1", 0.5))
    assert (match.outcome.first_epoch, match.outcome.first_step) == parts
    places = [line.strip() for line in lines("base-0", match, dirty=False)]
    places = [line for line in places if line.startswith(("part in", "the losses", "history.csv"))]
    assert len(places) == len(shown)
    assert all(line.startswith(start) for line, start in zip(places, shown, strict=True))


def test_losses_are_compared_bit_by_bit(record: Run) -> None:
    np.save(record.folder.losses, np.array([0.0, np.nan, 1.0, 2.0, 3.0], np.float32))
    kept = read_run(record.folder)
    assert kept.losses is not None
    same = again(kept)
    assert "losses" in same.outcome.agrees
    assert (same.outcome.steps, same.of_steps) == (5, 5)
    other = kept.losses.copy()
    other[1:2].view(np.uint32)[:] ^= 1  # another value that is not a number
    assert again(kept, losses=other).outcome.first_step == [2, 1]
    other[:1] = -0.0
    signed = again(kept, losses=other)
    assert (signed.outcome.first_step, show(signed.differs["losses"])) == ([1, 1], "0.0 -> -0.0")
    assert again(kept, losses=kept.losses[:3]).outcome.first_step == [4, 1]
    first = again(kept, whole=False, losses=kept.losses[:3], history=kept.history[:3]).outcome
    assert (first.first_step, first.steps, first.verified) == (None, 3, True)


def test_a_processor_s_name_is_no_reason_where_its_portable_bits_are_the_same(tmp_path: Path) -> None:
    runs = []
    for seed in range(3):
        make_run(tmp_path / f"base-{seed}", tiny(bits="portable"), seed)
        folder = RunFolder.of(tmp_path / f"base-{seed}")
        alter(folder.provenance, lambda values: values["machine"].update(bits="linear:aa loss:bb"))
        runs.append(read_run(folder))
    record, here = runs[0], Made.of(runs[0])

    def noise(bits: str) -> Noise | None:
        machine = here.machine | {"cpu": "Other", "device_name": "Other", "bits": bits}
        made = replace(here, machine=machine, hashes={**here.hashes, "weights": "0" * 64})
        return noise_of(compare(record, made, here=False), record, made, runs, "test_top1", 1)

    assert noise("linear:aa loss:bb") is None
    found = noise("linear:cc loss:bb")
    assert found is not None
    assert found.runs == 3
