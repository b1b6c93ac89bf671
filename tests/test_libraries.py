"""Data sets that torchvision knows are read where they lie; one that is not there says what to put where."""

import struct
from pathlib import Path

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


@pytest.mark.usefixtures("no_network")
def test_cifar_of_other_contents_is_not_read(tmp_path: Path) -> None:
    """CIFAR's files are pickles, which could run code: torchvision compares their MD5 before it opens them."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("batches.meta", "test_batch", *(f"data_batch_{i}" for i in range(1, 6))):
        (folder / name).write_bytes(f"cposix\nsystem\n(S'touch {tmp_path}/was-run'\ntR.".encode())
    with pytest.raises(UserError, match=r"data\.root: cifar10 is not in .*; put cifar-10-batches-py/ or cifar-10-"):
        pack(DataSettings(source="cifar10", root=str(tmp_path)), tmp_path / "packed")
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("place", ["imagenette2", "."])
def test_imagenette_is_taken_from_a_tree_that_is_there(tmp_path: Path, place: str) -> None:
    tree(tmp_path / "images" / place, ["n01440764", "n02102040"], 4)
    manifest = pack(
        DataSettings(source="imagenette", root=str(tmp_path / "images"), size=128, validation=0.25), tmp_path / "packed"
    )
    assert manifest.counts == {"train": 6, "validation": 2, "test": 8}
    assert manifest.size == 128
