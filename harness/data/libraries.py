"""Data sets that torchvision knows: downloaded where there is a network, else read from the folder that is given."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import UserError

Sets = dict[str, tuple[np.ndarray, np.ndarray]]
"""Part -> images (N, H, W, C) uint8 and labels (N,) int64."""

ARRAYS = ("cifar10", "cifar100", "fashion-mnist", "stl10")
DEFAULT_ROOT = "data/downloads"

WHAT = {
    "cifar10": "cifar-10-batches-py/ or cifar-10-python.tar.gz",
    "cifar100": "cifar-100-python/ or cifar-100-python.tar.gz",
    "fashion-mnist": "FashionMNIST/raw/ with the four unpacked *-ubyte files",
    "stl10": "stl10_binary/ or stl10_binary.tar.gz",
    "imagenette": "imagenette2/ or imagenette2.tgz",
}
"""What a user without a network puts into `data.root`, as torchvision names it."""


def load(name: str, root: str) -> tuple[list[str], Sets]:
    """Class names and parts of an array data set. Raises `UserError` when it is neither there nor can be downloaded."""
    from torchvision import datasets

    def make(train: bool, download: bool) -> Any:
        folder = _folder(root)
        if name == "stl10":
            return datasets.STL10(folder, "train" if train else "test", download=download)
        kinds = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "fashion-mnist": datasets.FashionMNIST}
        return kinds[name](folder, train, download=download)

    made = {part: _open(name, root, partial(make, part == "train")) for part in ("train", "test")}
    sets = {part: _arrays(data) for part, data in made.items()}
    return [str(c) for c in made["train"].classes], sets


def imagenette(root: str) -> Path:
    """The folder of Imagenette's two trees. Raises `UserError` when it is neither there nor can be downloaded."""
    from torchvision import datasets

    folder = Path(_folder(root))
    # A tree that the user already has, as it is after unpacking, is taken as it is.
    for tree in (folder, folder / "imagenette2"):
        if (tree / "train").is_dir() and (tree / "val").is_dir():
            return tree
    _open("imagenette", root, lambda download: datasets.Imagenette(folder, "train", download=download))
    return folder / "imagenette2"


def _folder(root: str) -> str:
    return str(Path(root or DEFAULT_ROOT).expanduser())


def _open(name: str, root: str, make: Callable[[bool], Any]) -> Any:
    """What is in the folder, else downloaded into it."""
    try:
        return make(False)
    except (RuntimeError, OSError, ValueError):
        pass  # not there: torchvision says so in as many ways
    try:
        return make(True)
    except Exception as error:
        raise UserError(
            f"data.root: {name} is not in {_folder(root)} and cannot be downloaded ({type(error).__name__}: {error}); "
            f"put {WHAT[name]} there"
        ) from error


def _arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(data.data)
    labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels, dtype=np.int64)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3:  # STL-10 stores channels first
        images = images.transpose(0, 2, 3, 1)
    return images, labels
