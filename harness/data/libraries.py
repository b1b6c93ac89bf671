"""Data sets that torchvision knows: downloaded where there is a network, else read from the folder that is given."""

import hashlib
import io
import os
import pickle
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from harness.errors import UserError

Read = TypeVar("Read")
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

    folder = Path(root or DEFAULT_ROOT).expanduser()
    if name == "fashion-mnist":
        read = partial(_known, datasets.FashionMNIST, folder, True, False)
        return _open(name, folder, read, partial(datasets.FashionMNIST, folder, download=True))
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "stl10": datasets.STL10}[name]
    read = partial(_known, kind, folder, "train", "test") if name == "stl10" else partial(_cifar, kind, folder)
    return _open(name, folder, read, partial(_fetch, kind.url, kind.tgz_md5, folder, kind.base_folder))


def imagenette(root: str) -> Path:
    """The folder of Imagenette's two trees. Raises `UserError` when it is neither there nor can be downloaded."""
    from torchvision import datasets

    folder = Path(root or DEFAULT_ROOT).expanduser()
    unpacked = folder / "imagenette2"

    def find() -> Path:
        # A tree that the user already has, as it is after unpacking, is taken as it is.
        for tree in (folder, unpacked):
            if (tree / "train").is_dir() and (tree / "val").is_dir():
                return tree
        raise FileNotFoundError(f"{unpacked}: lacks train/ or val/")

    def fetch() -> None:
        if not unpacked.exists():
            url, md5 = datasets.Imagenette._ARCHIVES["full"]
            _fetch(url, md5, folder, unpacked.name)

    return _open("imagenette", folder, find, fetch)


def _open(name: str, folder: Path, read: Callable[[], Read], fetch: Callable[[], object]) -> Read:
    """What is in the folder, else downloaded into it."""
    with suppress(RuntimeError, OSError, ValueError, pickle.UnpicklingError):
        return read()  # not there: torchvision says so in as many ways
    try:
        fetch()
        return read()
    except Exception as error:
        raise UserError(
            f"data.root: {name} is not in {folder} and cannot be downloaded ({type(error).__name__}: {error}); "
            f"put {WHAT[name]} there"
        ) from error


def _known(kind: Any, folder: Path, train: Any, test: Any) -> tuple[list[str], Sets]:
    """A data set of torchvision's class `kind`, whose second argument names the part."""
    parts = {"train": kind(folder, train), "test": kind(folder, test)}
    return [str(name) for name in parts["train"].classes], {part: _arrays(data) for part, data in parts.items()}


def _fetch(url: str, md5: str, folder: Path, inside: str) -> None:
    """Download an archive into `folder`, unless it lies there, compare its hash, and unpack its folder `inside`."""
    from torchvision.datasets.utils import download_url

    download_url(url, folder, md5=md5)
    unpack(folder / url.rpartition("/")[2], folder, inside)


def unpack(archive: Path, folder: Path, inside: str) -> None:
    """Unpack the folder `inside` of a tar archive into `folder`: whole, or nothing of it where it was not there before.

    Raises `ValueError` for an archive with anything but plain files and folders below `folder`: no links, no devices.
    """
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder) as temporary:
        with tarfile.open(archive) as tar:
            # Python's own check as well, which it has from 3.11.4 on.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(temporary, _plain(archive, tar))  # noqa: S202 - its members are looked at one by one
        unpacked, target = Path(temporary) / inside, folder / inside
        if target.exists():
            shutil.copytree(unpacked, target, copy_function=os.replace, dirs_exist_ok=True)
        else:
            unpacked.rename(target)


def _plain(archive: Path, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in tar:
        parts = PurePosixPath(member.name)
        if not (member.isreg() or member.isdir()):
            raise ValueError(f"{archive}: {member.name!r} is neither a file nor a folder")
        if parts.is_absolute() or ".." in parts.parts:
            raise ValueError(f"{archive}: {member.name!r} would leave the folder")
        # Not the archive's owner, nor its bits that run a file, or run it as somebody else.
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        member.mode = 0o755 if member.isdir() else 0o644
        yield member


def _cifar(kind: Any, folder: Path) -> tuple[list[str], Sets]:
    """CIFAR, of torchvision's class `kind`: each file is read once, and what was read is compared with its hash."""
    place = folder / kind.base_folder
    sets = {}
    for part, files in (("train", kind.train_list), ("test", kind.test_list)):
        batches = [_unpickled(place / name, md5) for name, md5 in files]
        images = np.concatenate([np.asarray(batch["data"], np.uint8).reshape(-1, 3, 32, 32) for batch in batches])
        labels = [n for batch in batches for n in batch["labels" if "labels" in batch else "fine_labels"]]
        sets[part] = images.transpose(0, 2, 3, 1), np.array(labels, dtype=np.int64)
    return [str(name) for name in _unpickled(place / kind.meta["filename"], kind.meta["md5"])[kind.meta["key"]]], sets


class _Unpickler(pickle.Unpickler):
    """A reader of texts, numbers, lists, mappings and numpy's arrays, which calls nothing else.

    CIFAR is published as such files; what is read has been compared with its hash before.
    """

    ALLOWED = (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"))

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise ValueError(f"a pickle that names {module}.{name}")
        return super().find_class(module, name)


def _unpickled(path: Path, md5: str) -> dict[str, Any]:
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise ValueError(f"{path}: is not CIFAR's: its hash is another")
    values: dict[str, Any] = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    return values


def _arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(data.data)
    labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels, dtype=np.int64)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3:  # STL-10 stores channels first
        images = images.transpose(0, 2, 3, 1)
    return images, labels
