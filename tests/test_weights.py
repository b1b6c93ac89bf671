"""Weights are a cache: found by what they are, trained again where they are missing, held against the run's record."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, commit, evaluated, flip, git, weights_file, write_yaml
from fake_study import alter
from safetensors.torch import load_file, save_file

from harness import weights
from harness.data.packed import Packed
from harness.data.store import images_of, pack_study
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.pipeline import named_run
from harness.pipeline.checked import write_checked
from harness.pipeline.dvc_files import is_recorded
from harness.process import LIMITS
from harness.progress import clock
from harness.record import Config, Provenance, Run, RunFolder, read_run
from harness.settings.load import load_run, load_study
from harness.settings.study import Study

ROOT = Path(__file__).parent.parent
FILE = Path("experiments/tiny/study.yaml")
PLACE = RunFolder.of(Path("reports/tiny/runs/base-0"))
STAGE = "experiments/tiny/dvc.yaml:train@base-0"


def declare(**settings: Any) -> Study:
    """Write a study of one run, with some of its settings changed."""
    content = {
        "name": "tiny", "title": "T", "purpose": "P.", "seeds": [0, 1],
        "data": {"source": "synthetic", "train_limit": 100, "test_limit": 40},
        "variants": {"base": TINY | {"epochs": 1} | settings},
    }  # fmt: skip
    write_yaml(FILE, content)
    study = load_study(FILE)
    write_checked(study, None, Path("."))
    return study


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with a study and its packed images: the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pack_study(declare(), Path("."))
    Path(".gitignore").write_text("/runs/\n/data/\n/.checkpoints/\n")
    git("init", "-q")
    commit()


@pytest.fixture
def images() -> Packed:
    return images_of(load_study(FILE), Path("."))


def train(seed: int = 0) -> Run:
    """Train the run in the place that a stage finds empty, since DVC removes what it made before."""
    folder = RunFolder.of(Path(f"reports/tiny/runs/base-{seed}"))
    shutil.rmtree(folder.training, ignore_errors=True)
    named_run.train(load_run("tiny:base"), "tiny:base", seed, None, None, 1e9, False, Path("."))
    return read_run(folder)


def records(folder: Path = PLACE.training) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tampered(**changes: Any) -> Run:
    """The run with keys of its provenance changed, as `hashes__weights`."""
    values = read_json(PLACE.provenance)
    for key, value in changes.items():
        above, _, last = key.rpartition("__")
        (values[above] if above else values)[last] = value
    write_json(PLACE.provenance, values)
    return read_run(PLACE)


def test_a_run_leaves_its_weights_in_the_cache_by_what_it_is() -> None:
    run = train()
    (entry,) = Path("runs").iterdir()
    assert entry.name == f"{run.fingerprint[:12]}-{run.hashes.weights[:12]}"
    assert {path.name for path in entry.iterdir()} == {*records(), "model.safetensors"}
    assert records().items() <= records(entry).items()
    assert weights.hash_tensors(load_file(entry / "model.safetensors")) == run.hashes.weights
    assert not list(PLACE.training.glob("*.safetensors")), "none in the folder that is committed"


def test_missing_weights_are_trained_again_held_against_the_record_and_evaluate_to_the_same_bytes(
    images: Packed, capfd: pytest.CaptureFixture[str]
) -> None:
    run = train()
    evaluated(run, images.folder, Path("one"))
    content = weights_file(run).read_bytes()
    shutil.rmtree("runs")
    assert weights.load(run) is None
    capfd.readouterr()
    tensors, digest = weights.ensure(run, "base-0", images)
    assert weights.hash_tensors(tensors) == digest == run.hashes.weights
    output = capfd.readouterr().out
    took = clock(run.provenance.wall_seconds)
    assert f"base-0: its weights are not here: training it again, {took} as recorded" in output
    assert "those of its record" not in output
    assert weights_file(run).read_bytes() == content
    assert list(Path("runs").iterdir()) == [weights_file(run).parent]
    # From now on they are here.
    evaluated(run, images.folder, Path("two"))
    assert "training it again" not in capfd.readouterr().out
    assert records(Path("one")) == records(Path("two"))
    assert "weights" not in read_json(Path("two/metrics.json"))


def others(path: Path) -> None:
    """Sound weights of another run."""
    tensors = {name: tensor + 1 for name, tensor in load_file(path).items()}
    save_file(tensors, path)


def test_damaged_weights_count_as_missing() -> None:
    run = train()
    place, sound = weights_file(run), weights_file(run).read_bytes()
    machine, torch = run.provenance.machine, run.provenance.versions["torch"]
    damages: list[Callable[[Path], object]] = [
        flip, others, Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"text" * 9),
        lambda path: path.write_bytes(sound[:-9]),
    ]  # fmt: skip
    for damage in damages:
        place.write_bytes(sound)
        assert weights.load(run) is not None
        assert weights.find(run.config, machine, torch) is not None
        damage(place)
        assert weights.load(run) is None
        assert weights.find(run.config, machine, torch) is None


def test_a_record_that_cannot_be_had_again_is_said_and_marks_what_is_made_of_it(
    images: Packed, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train()
    shutil.rmtree("runs")
    run = tampered(
        hashes__weights="0" * 64, versions__torch="1.0", machine__cpu="Other", machine__instructions="DEFAULT"
    )
    for name in LIMITS["DEFAULT"]:  # what the user has set stays
        monkeypatch.delenv(name, raising=False)
    capfd.readouterr()
    metrics = evaluated(run, images.folder)
    (line,) = [line for line in capfd.readouterr().out.splitlines() if "not those of its record" in line]
    assert line.startswith("test: trained again, its weights are not those of its record (")
    assert re.search("cpu Other -> .*, torch 1.0 -> 2", line)
    again = Provenance.read(weights.entry_of(run.fingerprint, metrics["weights"]).provenance)
    assert again.hashes.weights == metrics["weights"] == read_json(PLACE.metrics)["weights"]
    # It is trained with the instructions that its record names.
    assert again.machine["instructions"] == "DEFAULT"
    assert read_run(PLACE).measured is not None


def test_a_run_that_cannot_be_trained_again_is_refused(images: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train()
    shutil.rmtree("runs")
    for status, error in ((2, UserError), (130, KeyboardInterrupt)):
        monkeypatch.setattr("subprocess.Popen.wait", lambda *_, status=status, **__: status)
        with pytest.raises(error, match="its weights are not here, and it could not be" if status == 2 else None):
            weights.ensure(run, "base-0", images)


def test_weights_that_dvc_keeps_are_found(images: Packed) -> None:
    run = train()
    place = Path("weights/tiny") / f"{weights_file(run).parent.name}.safetensors"
    place.parent.mkdir(parents=True)
    weights_file(run).rename(place)
    assert weights.load(run) is not None
    flip(place)
    assert weights.load(run) is None


def test_only_finished_runs_of_the_same_machine_and_torch_are_taken() -> None:
    run = train()
    machine, torch = run.provenance.machine, run.provenance.versions["torch"]
    assert weights.find(run.config, machine, torch) is not None
    assert weights.find(run.config, machine | {"threads": 2}, torch) is None
    assert weights.find(run.config, machine, "1.0") is None
    other = Config.of(run.config.resolved, 1, run.images)
    assert weights.find(other, machine, torch) is None
    # The processor's name says nothing where it gives the same bits.
    assert weights.find(run.config, machine | {"cpu": "Other"}, torch) is None
    declare(bits="portable")
    run = train()
    machine = run.provenance.machine | {"cpu": "Other", "device_name": "Other"}
    assert weights.find(run.config, machine, torch) is not None
    assert weights.find(run.config, machine | {"bits": "linear:00000000"}, torch) is None
    declare(lr=1e30)
    lost = train()
    assert lost.provenance.status == "diverged"
    assert weights.find(lost.config, machine, torch) is None


# ---- what is taken back


def test_a_change_that_is_taken_back_restores_the_committed_records_without_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train()
    before = records()
    commit()
    shutil.rmtree("runs")  # so that it is the commit that they come from
    declare(lr=0.02)
    assert train().fingerprint != first.fingerprint
    assert records()["losses.npy"] != before["losses.npy"]
    declare()
    capsys.readouterr()
    untrained(monkeypatch)
    assert train().fingerprint == first.fingerprint
    assert "restored from the last commit: the same settings, seed, images and code" in capsys.readouterr().out
    assert records() == before


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where a training begins."""

    def begun(self: Any) -> Any:
        raise AssertionError("a training has begun")

    monkeypatch.setattr("harness.train.loop.Trainer.run", begun)


def test_what_was_never_committed_is_taken_from_the_cache(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_STAGE", STAGE)
    train()
    one = records()
    declare(lr=0.02)
    train()
    two = records()
    assert one != two
    untrained(monkeypatch)
    monkeypatch.setenv("DVC_STAGE", "experiments/other/dvc.yaml:train@base-0")
    for settings, expected in (({}, one), ({"lr": 0.02}, two), ({}, one)):
        declare(**settings)
        capsys.readouterr()
        assert train().provenance.reused_from == STAGE
        assert f"is a run that was made before ({STAGE})" in capsys.readouterr().out
        changed = {name for name, content in records().items() if content != expected[name]}
        assert changed <= {"provenance.json"}, "it says where it was taken from"


def test_records_of_another_run_or_version_are_not_restored() -> None:
    run = train()
    config, before = run.config, records()

    def restored(config: Config) -> bool:
        shutil.rmtree(PLACE.training, ignore_errors=True)
        return "restored" in named_run._reuse(config, run.provenance.machine, PLACE.training)

    assert not restored(config), "they are not committed, and taken from the cache"
    commit()
    assert not restored(Config.of(config.resolved, 1, run.images))
    assert not restored(config.model_copy(update={"settings": config.settings | {"lr": 0.02}}))
    assert restored(config)
    assert records() == before
    alter(PLACE.config, lambda values: values.update(more=1))
    commit()
    assert not restored(config), "a record of another version"
    PLACE.losses.unlink()
    commit()
    assert not restored(config), "a file is missing"


def recorded(study: Study, **changes: Any) -> None:
    """What DVC records of the stage, as far as it is read here."""
    checked, manifest = read_json(study.checked), read_json(study.manifest)
    params = {
        study.checked.as_posix(): {
            "code.train": checked["code"]["train"], "settings.base": checked["settings"]["base"],
        },
        study.manifest.as_posix(): {"id": manifest["id"]},
    }  # fmt: skip
    params[study.checked.as_posix()] |= changes
    stages = {"train@base-0": {"cmd": "x", "params": params}}
    write_yaml(FILE.with_name("dvc.lock"), {"schema": "2.0", "stages": stages})


def test_a_stage_that_dvc_has_on_record_and_runs_again_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    before = records()
    commit()
    assert not is_recorded(), "no stage runs"
    monkeypatch.setenv("DVC_STAGE", STAGE)
    assert not is_recorded(), "DVC has recorded nothing"
    study = load_study(FILE)
    recorded(study, **{"settings.base": "others"})
    assert not is_recorded()
    capsys.readouterr()
    train()
    assert "restored from the last commit" in capsys.readouterr().out
    recorded(study)
    assert is_recorded()
    again = train()
    output = capsys.readouterr().out
    assert "finished, validation error" in output
    assert not re.search("restored|made before", output)
    assert again.provenance.dvc_stage == STAGE
    assert all(records()[name] == before[name] for name in ("config.json", "losses.npy"))


def test_a_folder_of_one_s_own_is_trained_and_takes_no_records(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train()
    capsys.readouterr()
    named_run.train(load_run("tiny:base"), "tiny:base", 0, Path("mine"), None, 1e9, False, Path("."))
    assert "mine: finished" in capsys.readouterr().out
    mine = read_run(RunFolder(Path("mine"), Path("mine-eval")))
    assert (mine.hashes, mine.provenance.reused_from) == (first.hashes, None)
