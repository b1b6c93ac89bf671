"""Packed images are a cache: made again where they are missing, and refused where they are not the manifest's."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import study_file
from pictures import picture, tree

from harness.data import store
from harness.data.notes import lines
from harness.data.packed import Packed, read_manifest
from harness.data.store import images_of, pack_study, packed_as
from harness.data.watch import changed, doubts
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.identity.known import identity
from harness.settings.load import load_study
from harness.settings.schema import DataSettings
from harness.settings.study import Study

ROOT = Path(__file__).parent.parent
FILE = Path("experiments/tiny/study.yaml")
HERE = Path(".")
IMAGES = {"source": "synthetic", "train_limit": 100, "test_limit": 30}


def declare(**data: Any) -> Study:
    """Write a study, with some of its images' settings changed."""
    return load_study(study_file(FILE.parent, data=IMAGES | data))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cached() -> list[Path]:
    return sorted(path for path in Path("data").iterdir() if path.is_dir())


def test_a_manifest_is_all_that_a_study_keeps_of_its_images(capsys: pytest.CaptureFixture[str]) -> None:
    study = declare()
    with pytest.raises(UserError, match=r"reports/tiny/data\.json: no such file; run: harness data tiny"):
        images_of(study, HERE)
    manifest = pack_study(study, HERE)
    assert [path.name for path in cached()] == [f"synthetic-{manifest.hash[:12]}"]
    assert read_manifest(study.manifest) == manifest
    stored = read_json(study.manifest)
    assert (stored["code"], len(stored["id"])) == (identity("data"), 12)
    assert study.manifest.stat().st_size < 10_000
    packed = images_of(study, HERE)
    assert (packed.folder, packed.manifest) == (cached()[0], manifest)
    assert packed.content_hash() == manifest.hash


def test_what_is_packed_again_is_the_same_to_the_byte_and_names_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = declare()
    manifest = pack_study(study, HERE)
    first, before = study.manifest.read_bytes(), {path.name: path.read_bytes() for path in cached()[0].iterdir()}
    shutil.rmtree("data")
    capsys.readouterr()
    assert images_of(study, HERE).manifest == manifest
    assert f"data: data/synthetic-{manifest.hash[:12]} is not here: packing it again" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in cached()[0].iterdir()} == before
    images_of(study, HERE)
    assert capsys.readouterr().out == "", "they are here"
    pack_study(study, HERE)
    assert study.manifest.read_bytes() == first
    monkeypatch.setattr(store, "identity", lambda scope: "other code")
    pack_study(study, HERE)
    assert json.loads(first)["id"] != read_json(study.manifest)["id"], "trainings depend on it"
    assert json.loads(first)["hash"] == read_json(study.manifest)["hash"]


def test_images_are_shared_by_the_studies_that_have_the_same() -> None:
    manifest = pack_study(declare(), HERE)
    write_json(Path("elsewhere.json"), asdict(manifest))
    assert packed_as(manifest, DataSettings(**IMAGES), "elsewhere.json").folder == cached()[0]
    other = pack_study(declare(split_seed=1), HERE)
    assert other.hash != manifest.hash
    assert len(cached()) == 2


def test_images_of_other_settings_than_the_manifest_s_are_refused() -> None:
    manifest = pack_study(declare(), HERE)
    other = declare(test_limit=40)
    shutil.rmtree("data")
    with pytest.raises(UserError) as mistake:
        images_of(other, HERE)
    message = str(mistake.value)
    assert message.startswith(f"reports/tiny/data.json: hash: {manifest.hash[:12]}, but the images that are here have ")
    # What was packed meanwhile is sound, and is that of its own name.
    (made,) = cached()
    assert made.name == f"synthetic-{Packed.open(made).content_hash()[:12]}"
    # Made again, the manifest is theirs.
    assert pack_study(other, HERE).hash != manifest.hash
    assert images_of(other, HERE).manifest.counts["test"] == 40


@pytest.mark.parametrize("file", ["train.images.u8", "validation.images.u8", "test.labels.i32"])
@pytest.mark.parametrize("damage", [lambda content: bytes([content[0] ^ 1]) + content[1:], lambda content: b"short"])
def test_damaged_arrays_are_refused_and_packed_anew(file: str, damage: Callable[[bytes], bytes]) -> None:
    study = declare()
    pack_study(study, HERE)
    (place,) = cached()
    (place / file).write_bytes(damage((place / file).read_bytes()))
    with pytest.raises(UserError, match=rf"^{place}.*: damaged: "):
        images_of(study, HERE)
    pack_study(study, HERE)
    assert images_of(study, HERE).content_hash() == read_manifest(study.manifest).hash
    assert cached() == [place], "nothing else is left"


def test_large_images_are_not_hashed_before_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    study = declare()
    pack_study(study, HERE)
    monkeypatch.setattr(Packed, "content_hash", lambda self: pytest.fail("they were hashed"))
    monkeypatch.setattr(store, "CHECKED", 0)
    images_of(study, HERE)


def test_two_processes_that_need_the_same_images_at_once_both_get_them() -> None:
    study = declare()
    manifest = pack_study(study, HERE)
    shutil.rmtree("data")
    code = (
        "from pathlib import Path; from harness.data.store import images_of; from harness.settings.load import *; "
        f"print(images_of(load_study(Path('{FILE}')), Path('.')).content_hash())"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    for process in processes:
        out, error = process.communicate(timeout=100)
        assert process.returncode == 0, error
        assert out.split()[-1] == manifest.hash
    assert [path.name for path in cached()] == [f"synthetic-{manifest.hash[:12]}"]


def test_an_experiment_in_a_clone_uses_the_images_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = declare()
    pack_study(study, HERE)
    clone = tmp_path / "clone"
    shutil.copytree("reports", clone / "reports")
    monkeypatch.chdir(clone)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert images_of(study, clone).folder.parent == tmp_path / "data"
    assert not (clone / "data").exists()


OWN = {"source": "folder", "root": "own", "size": 24, "validation": 0.25, "train_limit": None, "test_limit": None}


def touch(path: Path) -> None:
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("change", "is_one"),
    [
        (lambda root: None, False),
        (lambda root: (root / "train/a/notes.txt").write_text("no image"), False),
        (lambda root: shutil.rmtree(root), False),  # they are not here: nothing is known of them
        (lambda root: root.rename(root.with_name("elsewhere")).joinpath("x").mkdir(), False),
        (lambda root: touch(root / "train/a/image 0.png"), True),
        (lambda root: picture(root / "val/b/one more.png", 7), True),
        (lambda root: (root / "val/b/image 0.png").unlink(), True),
        (lambda root: (root / "val/b/image 0.png").rename(root / "val/b/renamed.png"), True),
        (lambda root: [(root / part / "b").rename(root / part / "c") for part in ("train", "val")], True),
    ],
)
def test_changed_images_are_noticed_until_they_are_packed_again(change: Callable[[Path], Any], is_one: bool) -> None:
    root = tree(Path("own"), ["a", "b"], 6)
    study = declare(**OWN)
    assert not changed(study, HERE), "not packed yet"
    pack_study(study, HERE)
    change(root)
    assert changed(study, HERE) == is_one
    assert [line for line in doubts(study, HERE) if "changed since they were packed" in line] == doubts(study, HERE)
    assert len(doubts(study, HERE)) == is_one
    if not is_one:
        return
    before = study.manifest.read_bytes()
    now = pack_study(study, HERE).hash
    assert not changed(study, HERE)
    # A study with the older images does not take those for its own that another one packed meanwhile.
    study.manifest.write_bytes(before)
    assert changed(study, HERE) == (now != json.loads(before)["hash"])


def test_images_that_are_no_data_set_any_more_are_said_as_such() -> None:
    root = tree(Path("own"), ["a", "b"], 6)
    study = declare(**OWN)
    pack_study(study, HERE)
    shutil.rmtree(root / "val")
    with pytest.raises(UserError, match="lacks val/CLASS"):
        changed(study, HERE)
    (line,) = doubts(study, HERE)
    assert "lacks val/CLASS" in line


def test_repeated_images_are_doubts_of_the_study_until_they_are_gone() -> None:
    root = tree(Path("own"), ["a", "b"], 6)
    study = declare(**OWN)
    shutil.copy(root / "train/a/image 0.png", root / "val/b/again.png")
    manifest = pack_study(study, HERE)
    assert set(manifest.notes) == {"test_in_train", "two_classes"}
    assert doubts(study, HERE) == [f"{study.manifest}: {line}" for line in lines(manifest.notes)]
    study.manifest.write_text("{")
    assert doubts(study, HERE) == [], "a broken manifest is made again"
    (root / "val/b/again.png").unlink()
    pack_study(study, HERE)
    assert "notes" not in read_json(study.manifest)
    assert doubts(study, HERE) == []
