"""Settings are declared once, and the declared files of the repository are sound."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from conftest import TINY, study_file
from pydantic import Field
from typer.testing import CliRunner

from harness import evaluate
from harness.cli import app
from harness.commits import git
from harness.data.crops import positions
from harness.errors import UserError
from harness.files import read_json
from harness.identity.code import digest
from harness.identity.known import founding, identity, read_known
from harness.record import fingerprint
from harness.report.format import METRICS
from harness.settings.check import SOURCES, check_candidate, check_study
from harness.settings.listing import EVALUATIONS
from harness.settings.load import find_study, load_candidate, load_study, resolve
from harness.settings.parse import allowed, parse
from harness.settings.presets import PRESETS
from harness.settings.schema import FOUNDING, LATER, MACHINE, DataSettings, Settings, recorded, sparse
from harness.settings.study import TOP5_CLASSES, Error, StudyFile, differences, unequal
from tests.probes.factors import FACTORS

ROOT = Path(__file__).parent.parent
STUDY = ROOT / "experiments/study.yaml"


def test_every_setting_says_what_it_is_and_what_it_may_be() -> None:
    listing = CliRunner().invoke(app, ["variants"]).stdout
    for name, field in Settings.model_fields.items():
        assert field.description
        assert len(field.description) < 100
        assert allowed(Settings, name)
        assert f"  {name} = " in listing
        assert field.description in listing
    assert all(field.description for field in DataSettings.model_fields.values())
    for kind in (DataSettings, StudyFile):
        for name, field in kind.model_fields.items():
            if name == "data":  # its own keys stand there
                continue
            assert f"  {name} " in listing
            assert str(field.description) in listing


def test_both_baselines_are_presets() -> None:
    paper, as_run = resolve({"preset": "paper"}, "t"), resolve({"preset": "as_run"}, "t")
    assert paper == Settings()
    assert {
        "spatial_norm", "order1", "lrn_alpha_form", "lrn_span", "init_std_mid", "bias_lr", "decay_bias", "colour_until",
        "colour_scale", "colour_divide", "crop_positions", "crop_chunk", "mean", "reshuffle", "conv1_freeze",
    } <= set(differences(paper, as_run))  # fmt: skip
    # Section 4.1 counts 2048 = 32 * 32 * 2 crops; the code that was run drew from 33 * 33 * 2 = 2178.
    assert [2 * positions(one, 256) ** 2 for one in (paper, as_run)] == [2048, 2178]


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_alone_is_valid_and_nets_of_any_size_also_before_small(name: str) -> None:
    alone = resolve({"preset": name}, "t")
    if alone.net == "alexnet":
        assert resolve({"preset": [name, "small"]}, "t").geometry == "small"


def test_later_presets_and_own_keys_win() -> None:
    assert resolve({"preset": ["as_run", "small"]}, "t").epochs == 30
    assert resolve({"preset": ["small", "as_run"]}, "t").epochs == 91
    assert resolve({"preset": ["as_run", "small"], "epochs": 3}, "t").epochs == 3


MORE_FACTORS = [
    ("device", {}, "auto"), ("threads", {}, 2), ("workers", {}, 1), ("compile", {}, True), ("pretrained", {}, "a/b"),
    ("conv1_pad", {"geometry": "medium", "crop": 112}, "both"),
    ("pool_geometry", {"preset": "paper", "overlap_pool": False}, "as_run"),
]  # fmt: skip
"""Settings that no probe changes."""


def test_the_fingerprint_holds_every_setting_that_may_change_the_numbers() -> None:
    def of(declared: dict[str, Any]) -> str:
        return fingerprint(resolve(TINY | declared, "t"), 0, "images")

    rows = [*(row[:3] for row in FACTORS), *MORE_FACTORS]
    assert {name for name, _, _ in rows} == set(Settings.model_fields) - {"geometry"}
    for name, others, value in rows:
        assert (of(others) == of(others | {name: value})) is (name in MACHINE), name
    assert of({"geometry": "medium", "crop": 112}) != of({})


class Later(Settings):
    """The settings of a later version, which has one more."""

    cutout: int = Field(0, description="side in pixels of a square that is left out of each training image")


OWN = ("claims-small", "components", "noise", "overfitting")
"""Studies of this repository whose runs are committed."""


def committed() -> list[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Folder, config.json and provenance.json of every committed run of this repository's studies."""
    places = [
        place
        for study in OWN
        for pattern in ("runs/*/train", "candidate/train", "cells/*", "candidate")
        for place in sorted((ROOT / "reports" / study).glob(pattern))
        if (place / "config.json").exists()
    ]
    return [(place, read_json(place / "config.json"), read_json(place / "provenance.json")) for place in places]


def test_a_later_setting_as_before_it_was_there_changes_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(FOUNDING) == 73
    assert set(Settings.model_fields) == FOUNDING | LATER.keys()
    monkeypatch.setitem(LATER, "cutout", 0)
    small = {"geometry": "small", "crop": 24}
    for values in ({}, small):
        old, new = Settings(**values), Later(**values)
        assert sparse(new) == sparse(old)
        assert fingerprint(new, 0, "images") == fingerprint(old, 0, "images")
        other = Later(**values, cutout=8)
        assert sparse(other) == sparse(old) | {"cutout": 8}
        assert fingerprint(other, 0, "images") != fingerprint(old, 0, "images")
    _, config, _ = committed()[0]
    stored = config["settings"]
    later = Later(**recorded(stored))
    old = Settings(**{name: value for name, value in later.model_dump().items() if name != "cutout"})
    assert unequal(old, stored) == unequal(later, stored) == []
    assert unequal(later.model_copy(update={"cutout": 8}), stored) == ["cutout"]
    assert unequal(later, stored | {"cutout": 8}) == ["cutout"]


def test_the_fingerprint_of_a_run_depends_on_its_seed_images_start_and_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        fingerprint(Settings(), 0, "images"),
        fingerprint(Settings(), 1, "images"),
        fingerprint(Settings(), 0, "others"),
        fingerprint(Settings(), 0, "images", "first"),
    ]
    for scope in ("train", "data"):
        with monkeypatch.context() as patch:
            patch.setattr("harness.record.identity", lambda one, scope=scope: "new" if one == scope else identity(one))
            found.append(fingerprint(Settings(), 0, "images"))
    with monkeypatch.context() as patch:
        patch.setattr("harness.record.identity", lambda one: "new" if one == "eval" else identity(one))
        assert fingerprint(Settings(), 0, "images") == found[0]
    assert len(set(found)) == len(found)


def test_the_fingerprints_of_the_committed_runs_are_what_their_settings_come_to_now() -> None:
    assert len(committed()) > 150
    known = read_known().identity("train", digest("train")) is not None and identity("data") == founding("data")
    clean = git(ROOT, "status", "--porcelain", "--", "harness") == ""
    others = []
    for place, config, provenance in committed():
        if identity("train") != provenance["hashes"]["code"] or identity("data") != founding("data"):
            others.append(place)
            continue
        settings = parse(Settings, recorded(config["settings"]), str(place))
        again = fingerprint(settings, config["seed"], config["data"]["hash"], config.get("start"))
        assert config["fingerprint"] == provenance["fingerprint"] == again, place
    if known and clean:
        assert others == []


def test_the_default_study_and_its_candidate_are_sound() -> None:
    study = load_study(STUDY)
    assert check_study(study) == []
    assert check_candidate(ROOT / "params.yaml", study) == (study.variants["base"], study.seeds[0])
    assert len(study.cells) == 40
    settings, seed = load_candidate(ROOT / "params.yaml")
    assert differences(settings, study.variants[study.baseline]) == {}
    assert seed == study.seeds[0]


def test_every_metric_is_listed_and_in_words() -> None:
    metrics = get_args(Error)
    assert {"test_top5", "test_top5_10crop"} < set(metrics) == set(METRICS)
    assert {f"metric: {metric}" for metric in metrics} <= set(EVALUATIONS)


def test_top5_may_be_compared_where_it_is_measured(tmp_path: Path) -> None:
    assert TOP5_CLASSES == evaluate.TOP5_CLASSES
    for source, classes in SOURCES.items():
        if source not in ("folder", "python"):
            assert classes[2] is not None
            assert classes[2] >= TOP5_CLASSES
    images = {"source": "folder", "root": "x"}
    for classes, metric in ((None, "test_top5_10crop"), (10, "test_top5_10crop"), (9, "test_top1_10crop")):
        check_study(
            load_study(study_file(tmp_path, data=images, metric=metric, variants={"base": {"classes": classes}}))
        )
    few = study_file(tmp_path, data=images, metric="test_top5_10crop", variants={"base": {"classes": 9}})
    with pytest.raises(UserError, match="metric: got test_top5_10crop, but the images have 9 classes"):
        check_study(load_study(few))


@pytest.mark.parametrize("name", OWN)
def test_what_was_declared_is_still_what_the_studies_declare(name: str) -> None:
    study = load_study(find_study(Path(name), ROOT))
    path = study.path.with_name("study.declared.json")
    assert json.loads(path.read_text())["declarations"][-1]["declaration"] == study.declaration


def test_each_variant_of_the_default_study_is_one_switch_away() -> None:
    study = load_study(STUDY)
    changed = {name: set(study.differences(name)) for name in study.variants if name not in ("base", "tanh")}
    assert changed == {
        "no-lrn": {"lrn"}, "no-overlap": {"overlap_pool"}, "no-dropout": {"dropout"}, "no-augment": {"augment"},
        "one-gpu": {"gpus"}, "no-decay": {"weight_decay"},
    }  # fmt: skip


def test_the_declaration_changes_with_what_is_declared_and_not_with_words(tmp_path: Path) -> None:
    text = STUDY.read_text()
    hashes = []
    for changed in (text, text.replace("title: Which", "title: What"), text.replace("seeds: [0,", "seeds: [9,")):
        (tmp_path / "study.yaml").write_text(changed)
        hashes.append(load_study(tmp_path / "study.yaml").declaration)
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


def fresh(code: str, folder: Path = ROOT) -> list[str]:
    """What a new interpreter prints when it runs `code`, in words."""
    command = [sys.executable, "-c", code]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=True).stdout.split()


HEAVY = {"matplotlib", "mlflow", "numpy", "pandas", "pyarrow", "scipy", "seaborn", "statsmodels", "torch"}


@pytest.mark.parametrize("words", [["--help"], ["check"], ["variants", "noise"]])
def test_commands_that_compute_nothing_import_nothing_that_is_slow_to_start(words: list[str], tmp_path: Path) -> None:
    code = f"""
import contextlib, io, sys
import harness.cli
sys.argv = ["harness", *{words}]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    harness.cli.main()
print(*sys.modules)
"""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    imported = set(fresh(code, tmp_path))
    assert "harness.cli.app" in imported
    assert imported & HEAVY == set()


def test_training_imports_neither_mlflow_nor_pandas() -> None:
    code = "import harness.train.run, sys; print([m for m in ('mlflow', 'pandas', 'seaborn') if m in sys.modules])"
    assert fresh(code) == ["[]"]
