"""The same settings and seed give the same bits, whatever else is true; a killed run ends as if it had not been."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import TINY, evaluated, flip, recorded, study_file, tiny, trained, weights_file
from safetensors.torch import load_file

from harness.cli.stages import data
from harness.data.packed import Packed
from harness.errors import UserError
from harness.files import write_text
from harness.identity.known import identity
from harness.pipeline import named_run
from harness.record import Run, RunFolder, read_run
from harness.settings.load import load_run, load_study
from harness.settings.schema import Settings
from harness.train.recipe import rate

ROOT = Path(__file__).parent.parent
EIGHT = {"base": TINY | {"epochs": 8}}
STREAMS = ("batch_order", "augmentation", "losses", "weights")


def hashes(run: Run) -> dict[str, Any]:
    return run.hashes.model_dump()


@pytest.fixture
def run(tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train in a folder of its own and return the run."""
    monkeypatch.chdir(tmp_path)

    def go(name: str, settings: Settings, seed: int = 0) -> Run:
        return trained(settings, packed, tmp_path / name, seed)

    return go


def test_two_runs_are_equal_to_the_bit_and_another_seed_is_not(run: Any) -> None:
    one, two, other = run("one", tiny()), run("two", tiny()), run("other", tiny(), seed=1)
    assert hashes(one) == hashes(two)
    first = weights_file(one).read_bytes()
    weights_file(one).unlink()
    assert weights_file(run("three", tiny())).read_bytes() == first
    for stream in STREAMS:
        assert hashes(one)[stream] != hashes(other)[stream], stream


def test_workers_and_images_that_do_not_fit_in_memory_change_nothing(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = hashes(run("whole", tiny()))
    assert hashes(run("some", tiny(workers=3))) == whole
    monkeypatch.setattr("harness.data.batches.IN_MEMORY", 0)
    assert hashes(run("mapped", tiny(workers=2))) == whole


def test_training_does_not_read_the_test_part(run: Any, packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(packed, copy)
    for file in copy.glob("test.*"):
        file.unlink()
    without = trained(tiny(epochs=1), copy, tmp_path / "without")
    assert hashes(without) == hashes(run("with", tiny(epochs=1)))


def test_a_run_learns_and_its_records_agree(run: Any, packed: Path, tmp_path: Path) -> None:
    # At this low rate rounding hardly grows: the error is 10 % with AVX-512, AVX2 and SSE 4.1.
    settings = tiny(epochs=4, batch=16, width=0.5, fc_width=64, lr=0.003, augment=False, dropout=0.0)
    learnt = run("learns", settings, seed=1)
    metrics = evaluated(learnt, packed, tmp_path / "results")
    assert [row["epoch"] for row in learnt.history] == list(range(1, 5))
    assert metrics["train_top1"] < 50, "chance is 90"
    assert metrics["validation_top1"] == pytest.approx(learnt.history[-1]["validation_top1"])
    assert metrics["test_images"] == 100
    assert {p.name for p in (tmp_path / "learns").iterdir()} == {
        "config.json", "history.csv", "losses.npy", "provenance.json"
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "results").iterdir()} == {"metrics.json", "predictions.parquet"}
    answers = pd.read_parquet(tmp_path / "results" / "predictions.parquet")
    assert 100 * (1 - answers.correct.mean()) == pytest.approx(metrics["test_top1"])
    in_top5 = (answers.label == answers[[f"top{k}" for k in range(1, 6)]].T).any()
    assert 100 * (1 - in_top5.mean()) == pytest.approx(metrics["test_top5"])


def test_the_plateau_rule_is_given_the_validation_errors(run: Any) -> None:
    settings = tiny(
        epochs=6, schedule="plateau", patience=1, drop_factor=0.5, lr=0.003, fc_width=64, augment=False, dropout=0.0
    )
    history = run("plateau", settings).history

    def rates(part: str) -> list[float]:
        errors = [row[f"{part}_top1"] for row in history]
        return [rate(settings, epoch, errors[: epoch - 1]) for epoch in range(1, 7)]

    assert [row["lr"] for row in history] == rates("validation")
    # The rate did fall, and would have fallen otherwise by the training errors.
    assert min(rates("validation")) < settings.lr
    assert rates("train") != rates("validation")


def test_a_run_that_diverges_stops_and_is_recorded(run: Any, packed: Path, tmp_path: Path) -> None:
    lost = run("diverges", tiny(epochs=50, lr=1e6))
    assert lost.provenance.status == "diverged"
    assert lost.diverged_epoch is not None
    assert 1 <= lost.diverged_epoch < 50
    assert len(lost.history) == lost.diverged_epoch
    metrics = evaluated(lost, packed)
    assert metrics == {"status": "diverged", "diverged_epoch": lost.diverged_epoch, "code": identity("eval")}
    # In its last update, after which no step has a loss.
    late = run("late", tiny(epochs=1, batch=Packed.open(packed).manifest.counts["train"], lr=1e30))
    assert (late.provenance.status, late.diverged_epoch, late.provenance.steps) == ("diverged", 1, 1)


def command(packed: Path, out: Path, settings: Path) -> list[str]:
    return [
        sys.executable, "-m", "harness", "train", f"{settings}:base", "--seed", "0", "--out", str(out),
        "--data", str(packed), "--checkpoint-seconds", "0",
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def whole(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """Hashes and weights of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    words = command(packed, folder / "whole", study_file(folder, variants=EIGHT))
    subprocess.run(words, cwd=folder, env=environment(), check=True)
    return hashes(recorded(folder / "whole")), only_weights(folder)


def only_weights(folder: Path) -> bytes:
    """The one file of weights in the cache below a folder."""
    (file,) = folder.glob("runs/*/model.safetensors")
    return file.read_bytes()


@pytest.mark.parametrize(("number", "times"), [(signal.SIGKILL, 2), (signal.SIGINT, 1)])
def test_a_run_that_is_stopped_goes_on_to_the_same_bits(
    packed: Path, whole: tuple[dict[str, Any], bytes], tmp_path: Path, number: signal.Signals, times: int
) -> None:
    file = study_file(tmp_path, variants=EIGHT)
    out, stops = tmp_path / "stopped", 0
    while not out.exists():
        process = subprocess.Popen(
            command(packed, out, file),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if stops < times:
            # Wait for a checkpoint beyond the last one, so that each stop falls into the training.
            begin = newest(tmp_path)
            deadline = time.monotonic() + 240
            while newest(tmp_path) <= begin + 3 and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(number)
            stops += 1
        process.communicate()
        if number != signal.SIGKILL and not out.exists():
            assert process.returncode == 130
    assert stops == times
    assert (hashes(recorded(out)), only_weights(tmp_path)) == whole
    assert recorded(out).provenance.resumed
    assert not [p for p in (tmp_path / ".checkpoints").iterdir() if p.is_dir()], "a finished run keeps no checkpoint"


def newest(folder: Path) -> int:
    return max((int(p.stem) for p in folder.glob(".checkpoints/stopped-*/*.json")), default=0)


def test_a_folder_with_a_run_of_other_settings_is_left_alone(run: Any, packed: Path, tmp_path: Path) -> None:
    mine = run("mine", tiny(epochs=1))
    folder = mine.folder.training
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(UserError, match=r"holds the run .* of other settings, images or code"):
        trained(tiny(epochs=1, lrn=False), packed, folder)
    assert before == {p.name: p.read_bytes() for p in folder.iterdir()}
    write_text(tmp_path / "notes/notes.txt", "keep")
    with pytest.raises(UserError, match=r"notes: is there and is no run's folder"):
        trained(tiny(epochs=1), packed, tmp_path / "notes")


def losses(run: Run) -> list[float]:
    return [row["train_loss"] for row in run.history]


def test_half_precision_is_declared_recorded_and_near(run: Any) -> None:
    full, half = run("full", tiny()), run("half", tiny(precision="bfloat16"))
    assert losses(half) != losses(full)
    assert losses(half) == pytest.approx(losses(full), rel=0.02)
    assert hashes(half)["initial"] == hashes(full)["initial"]
    assert hashes(half)["batch_order"] == hashes(full)["batch_order"]
    assert half.settings["precision"] == "bfloat16"
    assert hashes(half) == hashes(run("half-again", tiny(precision="bfloat16")))
    assert hashes(run("tf32", tiny(precision="tf32"))) == hashes(full), "nothing on a CPU"


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_is_the_same_net_in_other_arithmetic(
    run: Any, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was compiled under other instructions may be taken from the user's cache, and ends the process.
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    plain, compiled = run("plain", tiny(epochs=1)), run("compiled", tiny(epochs=1, compile=True))
    assert losses(compiled) == pytest.approx(losses(plain), rel=1e-3)
    assert hashes(compiled)["initial"] == hashes(plain)["initial"]
    assert set(load_file(weights_file(compiled))) == set(load_file(weights_file(plain)))
    one, two = (evaluated(made, packed) for made in (plain, compiled))
    assert two["test_loss"] == pytest.approx(one["test_loss"], rel=1e-2)


def test_a_run_starts_from_another_s_weights_where_the_sizes_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = TINY | {"epochs": 1}
    studies = {
        "first": {"conv6": small | {"depth": "+conv6"}},
        "second": {"base": small | {"pretrained": "first/conv6", "depth": "-fc7", "lr": 0.0, "weight_decay": 0.0}},
    }
    for name, variants in studies.items():
        few = {"source": "synthetic", "train_limit": 100, "test_limit": 40}
        folder, baseline = Path("experiments") / name, next(iter(variants))
        file = study_file(folder, name=name, seeds=[0, 1], baseline=baseline, data=few, variants=variants)
        data(load_study(file), None)

    def go(spec: str, seed: int = 0) -> Run:
        named_run.train(load_run(spec), spec, seed, None, None, 1e9, None, Path("."))
        study, _, variant = spec.partition(":")
        return read_run(RunFolder.of(Path("reports") / study / "runs" / f"{variant}-{seed}"))

    with pytest.raises(UserError, match=r"pretrained: .*first/runs/conv6-0/train: no run is there; run: harness run"):
        go("second:base")
    first, second = go("first:conv6"), go("second:base")
    # At rate 0 the weights stay: the layers that both nets have are the first run's, the rest are their own.
    one, two = load_file(weights_file(first)), load_file(weights_file(second))
    assert "conv6.weight" in one
    assert "conv6.weight" not in two
    assert all((two[f"conv{n}.weight"] == one[f"conv{n}.weight"]).all() for n in range(1, 6))
    assert second.config.start == first.fingerprint
    # Damaged weights of the first run are trained again; those that its record does not name are refused.
    flip(weights_file(first))
    shutil.rmtree(second.folder.training)
    weights_file(second).unlink()
    assert hashes(go("second:base")) == hashes(second)
    assert "first/conv6-0: its weights are not here: training it again" in capsys.readouterr().out
    record = json.loads(first.folder.provenance.read_text())
    record["hashes"]["weights"] = "0" * 64
    first.folder.provenance.write_text(json.dumps(record))
    shutil.rmtree(second.folder.training)
    with pytest.raises(UserError, match="first/conv6-0: its weights cannot be had here as recorded"):
        go("second:base")


def test_the_clean_curve_is_the_training_error_in_evaluation_mode(run: Any, packed: Path, tmp_path: Path) -> None:
    # Seed 2: its two training errors are 4 points apart, with AVX-512, AVX2 and SSE 4.1.
    curved, plain = run("curved", tiny(curve_images=10_000), seed=2), run("plain", tiny(), seed=2)
    last = curved.history[-1]
    # Of all training images, at the end of the run: what evaluation finds of them.
    metrics = evaluated(curved, packed)
    assert last["clean_top1"] == pytest.approx(metrics["train_top1"])
    assert last["clean_loss"] == pytest.approx(metrics["train_loss"], rel=1e-5)
    assert last["clean_top1"] != last["train_top1"]
    # Looking changes nothing of the run; without it the columns are empty of numbers.
    assert hashes(curved) == hashes(plain)
    assert all(math.isnan(row["clean_top1"]) for row in plain.history)
