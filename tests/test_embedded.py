"""The images in the repository: 8,000, balanced, small, licensed, and chosen by the rule in choose_embedded.py."""

import hashlib
import json
from pathlib import Path

import choose_embedded as make
import numpy as np
import pytest
from PIL import Image

from harness.data import embedded
from harness.data.pack import pack
from harness.data.packed import PARTS, Packed
from harness.errors import UserError
from harness.settings.schema import DataSettings

needs_originals = pytest.mark.skipif(
    not make.ORIGINALS.is_dir(), reason="needs the original files: Debian's package dataset-fashion-mnist"
)


def test_they_are_8000_balanced_and_small() -> None:
    parts = embedded.load()
    assert {part: images.shape for part, (images, _) in parts.items()} == {
        "train": (3500, 28, 28, 1), "validation": (500, 28, 28, 1), "test": (4000, 28, 28, 1)
    }  # fmt: skip
    for images, labels in parts.values():
        assert images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [len(images) // 10] * 10
    everything = np.concatenate([images for images, _ in parts.values()]).reshape(8000, -1)
    assert len(np.unique(everything, axis=0)) > 7990, "parts are disjoint but for the set's own few duplicates"
    assert embedded.FILE.stat().st_size < 5e6


def test_their_card_is_true_and_their_licence_beside_them() -> None:
    card = json.loads(embedded.CARD.read_text())
    assert card["sha256"] == hashlib.sha256(embedded.FILE.read_bytes()).hexdigest()
    assert card["images"] == {part: len(labels) for part, (_, labels) in embedded.load().items()}
    assert (card["seed"], card["classes"]) == (make.SEED, embedded.CLASSES)
    assert "github.com/zalandoresearch/fashion-mnist" in card["source"]
    assert "MIT" in card["licence"]
    licence = (embedded.FILE.parent / "LICENSE").read_text()
    assert "Copyright (c) 2017 Zalando SE" in " ".join(licence.replace("©", "(c)").split())
    assert "Permission is hereby granted, free of charge" in licence


def test_packed_as_they_are_they_keep_their_parts(tmp_path: Path) -> None:
    manifest = pack(DataSettings(source="fashion-mnist-8k"), tmp_path / "packed")
    assert (manifest.channels, manifest.size, manifest.class_names) == (1, 28, embedded.CLASSES)
    packed = Packed.open(tmp_path / "packed")
    for part, (images, labels) in embedded.load().items():
        np.testing.assert_array_equal(packed.part(part).images, images)
        np.testing.assert_array_equal(packed.part(part).labels, labels)


def test_packed_at_another_size_they_are_scaled_as_files_are(tmp_path: Path) -> None:
    pack(DataSettings(source="fashion-mnist-8k", size=32, train_limit=100, test_limit=4000), tmp_path / "packed")
    found = Packed.open(tmp_path / "packed").part("test").images
    first = Image.fromarray(embedded.load()["test"][0][0, ..., 0]).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(found[0, ..., 0], np.asarray(first))


@needs_originals
def test_the_rule_makes_the_same_bytes_again() -> None:
    content, indices = make.make(make.ORIGINALS)
    assert hashlib.sha256(content).hexdigest() == json.loads(embedded.CARD.read_text())["sha256"]
    assert not set(indices["train"]) & set(indices["validation"])
    assert {part: len(set(indices[part])) for part in PARTS} == {"train": 3500, "validation": 500, "test": 4000}


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", None])
def test_a_damaged_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: object) -> None:
    copy = tmp_path / "copy.npz"
    if callable(damage):
        copy.write_bytes(damage(embedded.FILE.read_bytes()))
    monkeypatch.setattr(embedded, "FILE", copy)
    with pytest.raises(UserError, match=r"copy\.npz: damaged: its SHA-256 is .*git checkout restores it"):
        embedded.load()
