"""Data sets that torchvision knows: downloaded where there is a network, else read from the folder that is given."""

import hashlib
import io
import os
import pickle
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
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

    if name in ("cifar10", "cifar100"):
        kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
        names, sets = _open(name, root, partial(_cifar, kind, _folder(root)))
        return names, sets

    def make(train: bool, download: bool) -> Any:
        folder = _folder(root)
        if name == "stl10":
            kind = datasets.STL10
            if download:
                _fetch(kind.url, kind.tgz_md5, folder, kind.base_folder)
            return kind(folder, "train" if train else "test")
        return datasets.FashionMNIST(folder, train, download=download)

    made = {part: _open(name, root, partial(make, part == "train")) for part in ("train", "test")}
    sets = {part: _arrays(data) for part, data in made.items()}
    return [str(c) for c in made["train"].classes], sets


def imagenette(root: str) -> Path:
    """The folder of Imagenette's two trees. Raises `UserError` when it is neither there nor can be downloaded."""
    from torchvision import datasets

    folder = _folder(root)

    def make(download: bool) -> Path:
        # A tree that the user already has, as it is after unpacking, is taken as it is.
        for tree in (folder, folder / "imagenette2"):
            if (tree / "train").is_dir() and (tree / "val").is_dir():
                return tree
        if not download or (folder / "imagenette2").exists():
            raise FileNotFoundError(f"{folder / 'imagenette2'}: lacks train/ or val/")
        url, md5 = datasets.Imagenette._ARCHIVES["full"]
        _fetch(url, md5, folder, "imagenette2")
        return folder / "imagenette2"

    return Path(_open("imagenette", root, make))


def _folder(root: str) -> Path:
    return Path(root or DEFAULT_ROOT).expanduser()


def _open(name: str, root: str, make: Callable[[bool], Any]) -> Any:
    """What is in the folder, else downloaded into it."""
    try:
        return make(False)
    except (RuntimeError, OSError, ValueError, pickle.UnpicklingError):
        pass  # not there: torchvision says so in as many ways
    try:
        return make(True)
    except Exception as error:
        raise UserError(
            f"data.root: {name} is not in {_folder(root)} and cannot be downloaded ({type(error).__name__}: {error}); "
            f"put {WHAT[name]} there"
        ) from error


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
        made, target = Path(temporary) / inside, folder / inside
        if not target.exists():
            made.rename(target)
            return
        for path in [path for path in sorted(made.rglob("*")) if path.is_file()]:
            place = target / path.relative_to(made)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, place)


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


def _cifar(kind: Any, folder: Path, download: bool) -> tuple[list[str], Sets]:
    """CIFAR, of torchvision's class `kind`: each file is read once, and what was read is compared with its hash."""
    if download:
        _fetch(kind.url, kind.tgz_md5, folder, kind.base_folder)
    place = folder / kind.base_folder
    sets = {}
    for part, files in (("train", kind.train_list), ("test", kind.test_list)):
        read = [_unpickled(place / name, md5) for name, md5 in files]
        images = np.concatenate([np.asarray(one["data"], np.uint8).reshape(-1, 3, 32, 32) for one in read])
        labels = [label for one in read for label in one["labels" if "labels" in one else "fine_labels"]]
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
    found: dict[str, Any] = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    return found


def _arrays(data: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(data.data)
    labels = np.asarray(data.targets if hasattr(data, "targets") else data.labels, dtype=np.int64)
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[1] == 3:  # STL-10 stores channels first
        images = images.transpose(0, 2, 3, 1)
    return images, labels
