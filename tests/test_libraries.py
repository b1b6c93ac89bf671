"""Data sets that torchvision knows are read where they lie; one that is not there says what to put where."""

import hashlib
import io
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pictures import tree

from harness.data.pack import pack
from harness.data.packed import Packed
from harness.errors import UserError
from harness.settings.schema import DataSettings


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection goes to a port where nothing listens."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def fashion(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A folder in the form of Fashion-MNIST's, as the message asks for it, and its images by part."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (count, 28, 28)) for name, count in (("train", 40), ("t10k", 20))}
    for name, array in images.items():
        write_idx(tmp_path / f"FashionMNIST/raw/{name}-images-idx3-ubyte", array)
        write_idx(tmp_path / f"FashionMNIST/raw/{name}-labels-idx1-ubyte", np.arange(len(array)) % 10)
    return tmp_path, images


@pytest.mark.usefixtures("no_network")
def test_fashion_mnist_is_read_through_torchvision_where_it_lies(fashion: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, images = fashion
    pack(DataSettings(source="fashion-mnist", root=str(root), validation=0.25), root / "packed")
    found = Packed.open(root / "packed")
    assert found.manifest.counts == {"train": 30, "validation": 10, "test": 20}
    assert (found.manifest.channels, found.manifest.size) == (1, 28)
    np.testing.assert_array_equal(found.part("test").images[..., 0], images["t10k"])
    assert found.part("test").labels.tolist() == [*range(10), *range(10)]
    kept = np.concatenate([found.part(part).images[..., 0] for part in ("train", "validation")])
    assert {image.tobytes() for image in kept} == {image.astype(np.uint8).tobytes() for image in images["train"]}


@pytest.mark.usefixtures("no_network")
def test_a_damaged_file_of_a_known_set_is_said(fashion: tuple[Path, dict[str, np.ndarray]]) -> None:
    root, _ = fashion
    file = root / "FashionMNIST/raw/train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"data\.root: fashion-mnist is not in .*; put FashionMNIST/raw/"):
        pack(DataSettings(source="fashion-mnist", root=str(root)), root / "packed")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("source", ["cifar10", "cifar100", "fashion-mnist", "stl10", "imagenette"])
def test_a_set_that_is_not_there_says_what_to_put_where(tmp_path: Path, source: str) -> None:
    with pytest.raises(
        UserError, match=rf"data\.root: {source} is not in .* and cannot be downloaded .*; put .* there"
    ):
        pack(DataSettings(source=source, root=str(tmp_path)), tmp_path / "packed")  # type: ignore[arg-type]


class Python2Pickler(pickle._Pickler):
    """A writer of pickles as Python 2 and its numpy made them, which CIFAR's files are: every text is of bytes."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_text(self, text: str | bytes) -> None:
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)  # type: ignore[attr-defined]
        self.memoize(text)  # type: ignore[attr-defined]

    dispatch[bytes] = dispatch[str] = save_text


def write_pickle(path: Path, content: dict[str, Any]) -> str:
    """Write a file as CIFAR's authors did; its MD5."""
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(content)
    written = file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written)
    return hashlib.md5(written, usedforsecurity=False).hexdigest()


def pairs(images: Iterable[np.ndarray], labels: Iterable[int]) -> list[tuple[bytes, int]]:
    """Images with their labels, in an order of their own: which of them validate is drawn."""
    return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))


def packed_pairs(packed: Packed) -> dict[str, list[tuple[bytes, int]]]:
    """What was packed, as `pairs`, by the source's own parts: images that validate are taken of those that train."""
    train, validation, test = ((p.images, p.labels) for p in map(packed.part, ("train", "validation", "test")))
    return {"train": sorted(pairs(*train) + pairs(*validation)), "test": pairs(*test)}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("source", "key"), [("cifar10", "labels"), ("cifar100", "fine_labels")])
def test_cifar_is_read_with_its_pixels_and_fine_labels(
    source: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few images in the authors' files: a row an image, all of red, then of green, then of blue, each row by row."""
    from torchvision import datasets

    kind = datasets.CIFAR10 if source == "cifar10" else datasets.CIFAR100
    folder, rng, classes = tmp_path / kind.base_folder, np.random.default_rng(0), int(source[5:])
    written: dict[str, tuple[list[np.ndarray], list[int]]] = {"train_list": ([], []), "test_list": ([], [])}
    for files, (images, labels) in written.items():
        hashes = []
        for name, _ in getattr(kind, files):
            pixels = rng.integers(0, 256, (2 * classes, 32, 32, 3), dtype=np.uint8)
            fine = rng.permutation(2 * list(range(classes))).tolist()
            content = {"batch_label": name, key: fine, "data": pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)}
            if key == "fine_labels":
                content["coarse_labels"] = [label // 5 for label in fine]
            hashes.append([name, write_pickle(folder / name, content)])
            images += list(pixels)
            labels += fine
        # The files are not the published ones: their own hashes take the place of those that torchvision knows.
        monkeypatch.setattr(kind, files, hashes)
    names = [f"class {number:03d}" for number in range(classes)]
    coarse = {"coarse_label_names": [f"group {number}" for number in range(classes // 5)]}
    md5 = write_pickle(folder / kind.meta["filename"], coarse | {kind.meta["key"]: names})
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})
    pack(DataSettings(source=source, root=str(tmp_path), validation=0.5), tmp_path / "packed")  # type: ignore[arg-type]
    found = Packed.open(tmp_path / "packed")
    assert found.manifest.class_names == names
    assert packed_pairs(found) == {"train": pairs(*written["train_list"]), "test": pairs(*written["test_list"])}


@pytest.mark.usefixtures("no_network")
def test_stl10_is_read_with_its_pixels_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images in the authors' files: all of red, then green, then blue, each column by column; labels from 1."""
    from torchvision import datasets

    folder, rng, written = tmp_path / "stl10_binary", np.random.default_rng(0), {}
    folder.mkdir()
    for part, count in (("train", 20), ("test", 10)):
        pixels = rng.integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)
        labels = rng.permutation(count // 10 * list(range(10))).tolist()
        (folder / f"{part}_X.bin").write_bytes(pixels.transpose(0, 3, 2, 1).tobytes())
        (folder / f"{part}_y.bin").write_bytes(bytes(label + 1 for label in labels))
        written[part] = pairs(pixels, labels)
    names = [f"class {number}" for number in range(10)]
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    # The files are not the published ones: torchvision is kept from comparing their hashes, and from nothing else.
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    pack(DataSettings(source="stl10", root=str(tmp_path), validation=0.5), tmp_path / "packed")
    found = Packed.open(tmp_path / "packed")
    assert (found.manifest.channels, found.manifest.size, found.manifest.class_names) == (3, 96, names)
    assert packed_pairs(found) == written


@pytest.mark.parametrize("place", ["imagenette2", "."])
def test_imagenette_is_taken_from_a_tree_that_is_there(tmp_path: Path, place: str) -> None:
    tree(tmp_path / "images" / place, ["n01440764", "n02102040"], 4)
    images = DataSettings(source="imagenette", root=str(tmp_path / "images"), validation=0.25)
    manifest = pack(images, tmp_path / "packed")
    assert manifest.counts == {"train": 6, "validation": 2, "test": 8}
    assert (manifest.size, manifest.channels) == (256, 3)
