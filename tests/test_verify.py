"""Any row of a report can be made again and compared to the bit; what was altered, or came out otherwise, is found."""

import io
import json
import math
import os
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
from conftest import TINY, tiny
from fake_study import make_run
from ruamel.yaml import YAML

from harness.data.store import images_of
from harness.errors import UserError
from harness.instructions import LIMITS
from harness.record import Run, RunFolder, hash_losses, read_run
from harness.report.build import render
from harness.report.isolation import read_verified, verified_text
from harness.report.runs import read_results
from harness.settings.load import find_study, load_candidate, load_study
from harness.verify.environment import other_instructions
from harness.verify.match import Made, compare, measured, named_hashes, texts
from harness.verify.verify import lines, targets, verify

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
STUDY: dict[str, Any] = {
    "name": "tiny", "title": "Tiny", "purpose": "Tests.",
    "data": {"source": "synthetic", "train_limit": 120, "test_limit": 60},
    "seeds": [0, 1], "variants": {"base": TINY, "no-lrn": TINY | {"lrn": False}},
}  # fmt: skip

EPOCHS, STEPS = 2, 4
"""Of a run: 108 images in batches of 32."""


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("was-run",)


def evil() -> bytes:
    """An array file with an object that makes a folder when it is unpickled."""
    content = io.BytesIO()
    np.save(content, np.array([_Evil()], dtype=object), allow_pickle=True)
    return content.getvalue()


RUN_ALL = """
from pathlib import Path
from harness.pipeline import named_run
from harness.data.store import pack_study
from harness.settings.load import load_study
study = load_study(Path("experiments/study.yaml"))
root = Path(".")
pack_study(study, root)
for cell in study.cells:
    if cell.key != "no-lrn-1":
        spec = f"{study.name}:{cell.variant}"
        named_run.train(spec, cell.seed, None, None, 1e9, False, root)
        named_run.evaluate(spec, None, cell.seed, None, root)
"""
"""In one process, which starts in seconds: every run but one, which stays missing."""


def clean() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "GIT_", "PYTHON"))}
    who = {f"GIT_{role}_{what}": "tests@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return kept | who | {"OMP_NUM_THREADS": "1"}


def call(folder: Path, *words: str) -> str:
    done = subprocess.run(words, cwd=folder, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose tiny study has run, but for one cell; the code committed."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    shutil.copytree(ROOT / "harness", folder / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".gitignore", folder)
    (folder / "experiments").mkdir()
    with (folder / "experiments/study.yaml").open("w") as file:
        YAML(typ="safe").dump(STUDY, file)
    call(folder, "git", "init", "-q", "-b", "main")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "code")
    call(folder, sys.executable, "-c", RUN_ALL)
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
        agreed = verify(study, chosen, Path("."), **values)
        return agreed, capfd.readouterr().out

    return go


def alter(project: Path, file: str, change: Callable[[Any], None], key: str = "base-0") -> None:
    path = project / f"reports/tiny/runs/{key}/train" / file
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def stored(project: Path, key: str = "base-0") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / "reports/tiny/verified.json").read_text())[key]
    return found


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


def test_a_row_comes_out_as_recorded_from_its_commit_though_the_code_has_moved_on(project: Path, check: Verify) -> None:
    with (project / "harness/train/recipe.py").open("a") as file:
        file.write("\nQUARTERS = 1 / 0\n")
    before = snapshot(project)
    agreed, said = check("base", None)
    assert agreed
    assert said.count("bitwise identical, all 2 epochs") == 2
    for what in ("data", "code", "initial weights (8 layers)", "batch order", "augmentation stream", "loss stream",
                 "final weights", "history", "metrics (", "predictions"):  # fmt: skip
        assert what in said
    unchanged(project, before)
    found = stored(project)
    assert found["verified"]
    assert (found["epochs"], found["of"], found["differs"]) == (2, 2, [])
    assert found["commit"] == call(project, "git", "rev-parse", "HEAD").strip()
    assert found["machine"]["threads"] == 1
    assert found["versions"]["torch"]
    assert stored(project, "base-1")["verified"]


def test_a_run_of_a_processor_with_narrower_instructions_is_made_again_with_those(
    project: Path, check: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = stored_weights(project)
    shutil.rmtree(project / "reports/tiny/runs/base-0")
    shutil.rmtree(project / "runs")
    for name, level in LIMITS["DEFAULT"].items():
        monkeypatch.setenv(name, level)
    call(project, sys.executable, "-c", RUN_ALL.replace('!= "no-lrn-1"', '== "base-0"'))
    for name in LIMITS["DEFAULT"]:
        monkeypatch.delenv(name)
    assert stored_weights(project) != native, "other instructions, other bits"
    agreed, said = check()
    assert agreed, said
    assert stored(project)["machine"]["instructions"] == "DEFAULT"
    # Who asks for others gets them, and is told of it.
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    agreed, said = check(steps=4)
    assert not agreed
    assert "likely cause: instructions DEFAULT -> AVX2" in said


def test_records_of_other_instructions_are_told_of_before_anything_runs() -> None:
    mine = torch.backends.cpu.get_cpu_capability()
    assert (
        other_instructions([{"device": "cpu", "instructions": mine}, {"device": "cuda:0", "instructions": "x"}]) == []
    )
    (line,) = other_instructions([{"device": "cpu", "instructions": "DEFAULT"}] * 2)
    assert line.startswith(f"instructions: {mine} here, DEFAULT in records: other bits in new runs; as they did: ")
    for name, level in LIMITS["DEFAULT"].items():
        assert f"{name}={level}" in line


def stored_weights(project: Path) -> str:
    record = json.loads((project / "reports/tiny/runs/base-0/train/provenance.json").read_text())
    return str(record["hashes"]["weights"])


def test_the_report_is_made_again_and_shows_what_was_verified_of_which_record(project: Path, check: Verify) -> None:
    (project / "params.yaml").write_text(json.dumps(TINY | {"seed": 0}))
    study = load_study(Path("experiments/study.yaml"))

    def made() -> Path:
        return render(study, load_candidate(Path("params.yaml")), Path("."))

    def text() -> str:
        return verified_text(study, read_results(study, None, project).of("base"), project)

    path = made()
    assert text() == "not yet"
    cells = {file: content for file, content in snapshot(project).items() if "train" in file.parts}
    check(steps=1)
    assert text() == "1 of 2 over the first 1 step"
    assert text() in path.with_name("tiny").joinpath("details.md").read_text()
    check()
    assert text().startswith("1 of 2 bitwise identical (")
    assert stored(project)["when"][:10] in text()
    assert text() in path.with_name("tiny").joinpath("details.md").read_text()
    assert cells.items() <= snapshot(project).items()
    # It is what the report's own command makes, so that DVC finds nothing else.
    after = snapshot(project)
    made()
    assert snapshot(project) == after
    # A report that cannot be re-run stays; a quick look that agrees takes nothing back.
    (project / "reports/tiny/runs/no-lrn-0/eval/metrics.json").write_text("{")
    agreed, said = check(steps=1)
    assert agreed
    assert "cannot be rendered" in said
    assert stored(project)["epochs"] == 2
    assert path.read_bytes() == after[project / path]
    (project / "reports/tiny/runs/no-lrn-0/eval/metrics.json").unlink()
    # Another record was not verified.
    alter(project, "provenance.json", lambda values: values["hashes"].update(augmentation="0" * 64))
    assert text() == "not yet"


def test_an_altered_hash_of_the_weights_is_found(project: Path, check: Verify) -> None:
    alter(project, "provenance.json", lambda values: values["hashes"].update(weights="0" * 64))
    agreed, said = check()
    assert not agreed
    assert "base-0: DIFFERS" in said
    assert "differ: final weights 000000000000 -> " in said
    assert f"no step's loss, of {EPOCHS * STEPS}, and no epoch's row of history.csv differs" in said
    assert "the record may have been altered" in said
    assert stored(project)["differs"] == ["final weights"]
    assert not stored(project)["verified"]


@pytest.mark.parametrize("honest", [False, True])
def test_the_first_step_at_which_a_run_parts_from_its_record_is_named(
    project: Path, check: Verify, honest: bool
) -> None:
    path = project / "reports/tiny/runs/base-0/train/losses.npy"
    losses = np.load(path, allow_pickle=False)
    assert losses.shape == (EPOCHS * STEPS,)
    step = STEPS + 2  # from 0: the third of the second epoch
    found, losses[step] = losses[step], np.nextafter(losses[step], np.float32(9))
    np.save(path, losses)
    if honest:  # the record of another run, whole in itself
        alter(project, "provenance.json", lambda values: values["hashes"].update(losses=hash_losses(losses)))
    if not honest:
        agreed, said = check(steps=step)
        assert agreed, "the steps before it agree"
        assert f"bitwise identical, steps 1 to {step} of {EPOCHS * STEPS}" in said
        assert (stored(project)["steps"], stored(project)["first_step"]) == (step, None)
    agreed, said = check(steps=None if honest else step + 1)
    assert not agreed
    assert f"part in epoch 2, step 3 of {STEPS}: loss {losses[step]!s} -> {found!s}" in said
    assert "history.csv differs" not in said
    assert (stored(project)["first_epoch"], stored(project)["first_step"]) == (2, [2, 3])
    cause = "nothing that is recorded explains it" if honest else "losses.npy is not what the record's hash"
    assert cause in said
    assert set(stored(project)["differs"]) == {"losses", *(["loss stream"] if honest else [])}
    study = load_study(Path("experiments/study.yaml"))
    shown = verified_text(study, read_results(study, None, project).of("base"), project)
    assert shown.startswith("**differs**: `base-0` (from epoch 2, step 3 on: ")


def test_a_record_without_the_losses_of_its_steps_is_compared_by_epochs(project: Path, check: Verify) -> None:
    (project / "reports/tiny/runs/base-0/train/losses.npy").unlink()
    agreed, said = check(steps=1)
    assert agreed
    assert "bitwise identical, epochs 1 to 1 of 2" in said
    assert "losses" not in said
    assert stored(project)["steps"] == 0


def test_code_that_keeps_no_losses_is_compared_by_epochs(project: Path, check: Verify) -> None:
    loop = project / "harness/train/loop.py"
    source = loop.read_text().replace("self.losses", "self.kept").replace("    losses: np.nd", "    kept: np.nd")
    loop.write_text(source)
    agreed, said = check(steps=1, here=True)
    assert agreed, said
    assert "bitwise identical, epochs 1 to 1 of 2" in said


def test_losses_that_are_none_are_told_in_one_line_and_never_unpickled(project: Path, check: Verify) -> None:
    path = project / "reports/tiny/runs/base-0/train/losses.npy"
    short = io.BytesIO()
    np.save(short, np.zeros(EPOCHS * STEPS - 1, np.float32))
    for content in (evil(), short.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"losses\.npy: ") as mistake:
            check(steps=1)
        assert "\n" not in str(mistake.value)
    assert not (project / "was-run").exists()


def test_a_run_of_other_images_is_not_made_again(project: Path, check: Verify) -> None:
    alter(project, "provenance.json", lambda values: values["hashes"].update(data="0"))
    agreed, said = check()
    assert not agreed
    assert stored(project)["differs"] == ["data"]
    assert "likely cause: other images" in said


def test_other_settings_than_the_recorded_ones_come_out_otherwise(project: Path, check: Verify) -> None:
    alter(project, "config.json", lambda values: values["settings"].update(lr=0.02))
    agreed, said = check(steps=STEPS)
    assert not agreed
    assert stored(project)["first_step"] == [1, 2], "the first loss is that of the initial weights"
    assert "history.csv differs from epoch 1: lr 0.01 -> 0.02; train_loss " in said


def test_another_number_of_threads_parts_at_a_step_and_is_named_as_the_cause(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # So large that two threads add up in another order than one: a smaller net is cut into parts that sum alike.
    wide = TINY | {"width": 0.5, "fc_width": 256}
    variants = {f"on-{threads}": wide | {"threads": threads} for threads in (1, 2)}
    folder = project / "experiments/wide"
    folder.mkdir()
    with (folder / "study.yaml").open("w") as file:
        YAML(typ="safe").dump(
            STUDY | {"name": "wide", "baseline": "on-1", "seeds": [0], "variants": variants, "published": {}}, file
        )
    script = RUN_ALL.replace("experiments/study", "experiments/wide/study")
    call(project, sys.executable, "-c", script)
    one, two = (np.load(project / f"reports/wide/runs/on-{n}-0/train/losses.npy", allow_pickle=False) for n in (1, 2))
    parted = np.flatnonzero(one.view(np.uint32) != two.view(np.uint32))
    if not len(parted):
        pytest.skip("on this processor two threads sum as one does")
    first = int(parted[0])
    study = load_study(find_study(Path("experiments/wide")))
    capfd.readouterr()
    chosen = targets(study, "on-1", 0, False)
    assert not verify(study, chosen, Path("."), jobs=1, steps=first + 1, here=True, threads=2)
    said = capfd.readouterr().out
    place = f"epoch {first // STEPS + 1}, step {first % STEPS + 1}"
    # The validation error of the epoch before may show it already.
    assert f"part in {place} of {STEPS}: loss {one[first]!s} -> {two[first]!s}" in said
    assert "likely cause: threads 1 -> 2" in said
    found = json.loads(Path("reports/wide/verified.json").read_text())["on-1-0"]
    assert found["first_step"] == [first // STEPS + 1, first % STEPS + 1]
    assert found["first_epoch"] <= found["first_step"][0]
    assert (found["machine"]["threads"], found["steps"]) == (2, first + 1)
    assert verify(study, targets(study, "on-2", 0, False), Path("."), jobs=1, steps=first + 1, here=True, threads=None)


def test_the_present_code_is_held_against_the_record_where_it_is_asked_for(project: Path, check: Verify) -> None:
    recipe = project / "harness/train/recipe.py"
    source = recipe.read_text()
    recipe.write_text(source + "# a line that changes no number\n")
    before = snapshot(project)
    agreed, said = check(here=True, steps=1)
    assert agreed
    assert "differ: code " not in said
    unchanged(project, before)
    recipe.write_text(source + "UNUSED = 'code that changes no number, as far as anybody has proven'\n")
    agreed, said = check(here=True, steps=1)
    assert agreed
    assert "differ: code " in said
    recipe.write_text(source.replace("lr = weights_lr * row.lr_factor", "lr = 1.5 * weights_lr * row.lr_factor"))
    assert recipe.read_text() != source
    agreed, said = check(here=True, steps=2)
    assert not agreed
    assert f"part in epoch 1, step 2 of {STEPS}: loss " in said
    assert "the present code is not the recorded one" in said


def test_all_rows_are_made_again_at_once_and_one_without_a_result_is_named(project: Path, check: Verify) -> None:
    agreed, said = check(None, None, steps=1, jobs=2)
    assert agreed
    assert "no-lrn-1: no result of no-lrn-1" in said
    assert read_verified(project / "reports/tiny/verified.json").keys() == {"base-0", "base-1", "no-lrn-0"}


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


def test_a_commit_that_cannot_be_had_is_a_mistake_told_in_one_line(project: Path, check: Verify) -> None:
    for commit, said in (("0" * 40, "commit 000000000000"), (None, "its record names no commit")):
        alter(project, "provenance.json", lambda values, commit=commit: values.update(commit=commit))
        with pytest.raises(UserError, match=said):
            check(steps=1)
    assert not (project / "reports/tiny/verified.json").exists()


def test_code_that_does_not_run_is_told_in_one_line(project: Path, check: Verify) -> None:
    alter(project, "config.json", lambda values: values["settings"].update(no_such=1))
    with pytest.raises(UserError, match=r"base-0: cannot be re-run: .*no_such"):
        check(steps=1)


# ---- what is compared, and what is said to be the cause: without making a run again


@pytest.fixture
def record(tmp_path: Path) -> Run:
    """A run without the losses of its steps."""
    make_run(tmp_path / "base-0", tiny(epochs=5), 0)
    folder = RunFolder.of(tmp_path / "base-0")
    folder.losses.unlink()
    return read_run(folder)


def with_losses(record: Run, losses: np.ndarray) -> Run:
    """The same run with these losses beside it."""
    folder = RunFolder(record.folder.training.with_name("kept"), record.folder.evaluation)
    shutil.copytree(record.folder.training, folder.training)
    np.save(folder.losses, losses)
    return replace(record, folder=folder)


def again(record: Run, **changes: Any) -> Made:
    """The same run made again, to the bit, but for `changes`."""
    values: dict[str, Any] = {
        "whole": True,
        "hashes": named_hashes(record.hashes.model_dump()),
        "history": texts(record.history),
        "machine": dict(record.provenance.machine),
        "versions": dict(record.provenance.versions),
        "commit": record.provenance.commit,
        "dirty": None,
        "metrics": measured(record),
        "predictions": record.folder.predictions,
    }
    return Made(**(values | changes))


def hashed(record: Run, **changes: str) -> dict[str, str]:
    return named_hashes(record.hashes.model_dump()) | {key.replace("_", " "): value for key, value in changes.items()}


def parted(record: Run, epoch: int, column: str, value: str) -> list[dict[str, str]]:
    return [row | ({column: value} if int(row["epoch"]) >= epoch else {}) for row in texts(record.history)]


def test_a_run_that_comes_out_the_same_agrees_in_everything(record: Run) -> None:
    history = [row | ({"train_loss": math.nan} if row["epoch"] > 1 else {}) for row in record.history]
    lost = replace(record, history=history)
    assert compare(lost, again(lost), here=False).verified(here=False), "what is no number agrees with itself"
    found = compare(record, again(record), here=False)
    assert found.verified(here=False)
    assert (found.differs, found.environment, found.first_epoch, found.cause) == ({}, {}, None, "")
    assert {"data", "code", "batch order", "augmentation stream", "loss stream", "final weights", "history",
            "predictions", "metric test_top1", "initial weights of fc8"} <= set(found.agrees)  # fmt: skip


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
    made = again(
        record,
        machine=record.provenance.machine | machine,
        versions=record.provenance.versions | versions,
        hashes=hashed(record, loss_stream="0", final_weights="0"),
        history=parted(record, 4, "validation_loss", "0.5"),
    )
    found = compare(record, made, here=False)
    assert found.first_epoch == 4
    assert found.columns == ["validation_loss"]
    assert found.cause.startswith(cause)
    assert any(f"part in epoch 4: validation_loss {record.history[3]['validation_loss']} -> 0.5" in line
               for line in lines("base-0", record, found, here=False))  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        ({"batch_order": "0"}, "torch 2.9.0 -> 9.9"),
        ({"initial_weights_of_conv1": "0"}, "torch 2.9.0 -> 9.9"),
        ({"code": "0", "final_weights": "0"}, "the code at the recorded commit is not the recorded one"),
        ({"data": "0", "code": "0"}, "other images"),
        ({"final_weights": "0"}, "every loss agrees"),
    ],
)
def test_the_first_thing_on_the_way_that_differs_says_why(record: Run, changed: dict[str, str], cause: str) -> None:
    made = again(record, versions=record.provenance.versions | {"torch": "9.9"}, hashes=hashed(record, **changed))
    found = compare(record, made, here=False)
    assert not found.verified(here=False)
    assert found.cause.startswith(cause)


def test_a_run_made_with_uncommitted_changes_says_so(record: Run) -> None:
    changed = replace(record, provenance=record.provenance.model_copy(update={"dirty": "abc" * 10}))
    found = compare(changed, again(record, hashes=hashed(record, code="0")), here=False)
    assert found.cause == "the run was made with changes that its commit does not hold (hash abcabcabcabc)"


def test_other_metrics_of_the_same_weights_are_the_evaluations(record: Run) -> None:
    found = compare(record, again(record, metrics=measured(record) | {"test_top1": 1.0}), here=False)
    assert list(found.differs) == ["metric test_top1"]
    assert found.cause.startswith("the evaluation: the weights agree")


def test_a_history_that_ends_early_or_late_is_found(record: Run) -> None:
    short = compare(record, again(record, history=texts(record.history[:3])), here=False)
    assert (short.first_epoch, short.verified(here=False)) == (4, False)
    first = compare(record, again(record, history=texts(record.history[:3]), whole=False), here=False)
    assert (first.first_epoch, first.verified(here=False), first.epochs, first.of) == (None, True, 3, 5)
    longer = replace(record, history=record.history[:3])
    assert compare(longer, again(record), here=False).first_epoch == 4


@pytest.mark.parametrize(
    ("step", "row", "parts", "told"),
    [
        # 3 steps an epoch; steps from 0, rows from 1
        (5, None, (2, (2, 3)), ["part in epoch 2, step 3 of 3: loss 5.0 -> 7.0"]),
        (5, 2, (2, (2, 3)), ["part in epoch 2, step 3 of 3: loss 5.0 -> 7.0", "history.csv differs from epoch 2: "]),
        (6, 2, (2, (3, 1)), ["part in epoch 2: validation_top1 ", "the losses part in epoch 3, step 1 of 3: loss 6.0"]),
        (None, 4, (4, None), ["part in epoch 4: validation_top1 "]),
    ],
)
def test_the_first_place_at_which_a_run_parts_is_a_step_or_an_epochs_row(
    record: Run, step: int | None, row: int | None, parts: tuple[int, Any], told: list[str]
) -> None:
    losses = np.arange(15, dtype=np.float32)
    kept = with_losses(record, losses)
    assert len(losses) == 3 * len(record.history)
    found = losses.copy()
    if step is not None:
        found[step:] = 7
    history = texts(record.history) if row is None else parted(record, row, "validation_top1", "0.5")
    made = again(record, losses=found, history=history)
    comparison = compare(kept, made, here=False)
    assert (comparison.first_epoch, comparison.first_step) == parts
    said = [line.strip() for line in lines("base-0", kept, comparison, here=False)]
    shown = [line for line in said if line.startswith(("part in", "the losses", "history.csv"))]
    assert len(shown) == len(told)
    assert all(line.startswith(start) for line, start in zip(shown, told, strict=True))


def test_losses_are_compared_bit_by_bit(record: Run) -> None:
    losses = np.array([0.0, np.nan, 1.0, 2.0, 3.0], np.float32)
    kept = with_losses(record, losses)
    same = compare(kept, again(record, losses=losses.copy()), here=False)
    assert "losses" in same.agrees
    assert (same.steps, same.of_steps) == (5, 5)
    other = losses.copy()
    other[1:2].view(np.uint32)[:] ^= 1  # another value that is not a number
    assert compare(kept, again(record, losses=other), here=False).first_step == (2, 1)
    other[:1] = -0.0
    signed = compare(kept, again(record, losses=other), here=False)
    assert (signed.first_step, signed.differs["losses"]) == ((1, 1), ("0.0", "-0.0"))
    short = compare(kept, again(record, losses=losses[:3]), here=False)
    assert short.first_step == (4, 1)
    first = compare(kept, again(record, losses=losses[:3], whole=False, history=texts(record.history[:3])), here=False)
    assert (first.first_step, first.steps, first.verified(here=False)) == (None, 3, True)
    assert "losses" not in compare(record, again(record, losses=losses), here=False).agrees, "the record has none"


def command(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *words], cwd=project, env=clean(), capture_output=True, text=True, check=False
    )


def test_a_mistake_is_told_in_one_line(project: Path) -> None:
    before = snapshot(project)
    for target, row, seed, everything, said in (
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
        assert said in str(mistake.value)
    unchanged(project, before)


def test_the_exit_status_says_what_came_of_it(project: Path) -> None:
    assert command(project, "verify", "reports/tiny.md", "base", "--seed", "0", "--quick", "1").returncode == 0
    alter(project, "provenance.json", lambda values: values["hashes"].update(augmentation="0"))
    done = command(project, "verify", "experiments/study.yaml", "base", "--seed", "0", "--quick", "1")
    assert done.returncode == 1
    assert done.stderr == ""


def test_a_verification_that_is_stopped_leaves_nothing(project: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = snapshot(project)
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "verify", "reports/tiny.md", "base"], cwd=project,
        env=clean() | {"TMPDIR": str(temporary)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 300
    while len(call(project, "git", "worktree", "list").splitlines()) < 2:
        assert process.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    unchanged(project, before)
    assert list(temporary.iterdir()) == []
