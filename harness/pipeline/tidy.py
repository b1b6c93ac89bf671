"""What nobody needs any more: runs that a study no longer declares, and caches that no record names."""

import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.data.packed import read_manifest
from harness.data.watch import packed_at
from harness.grammar import counted
from harness.record import RunFolder, caches, read_run
from harness.settings.study import Study
from harness.weights import entry_of

HASHED = re.compile(r".+-[0-9a-f]{12}")
"""Name of a folder of weights or of packed images: what else a user keeps beside them is not touched."""


def undeclared(study: Study, root: Path) -> list[Path]:
    """Folders of runs of variants and seeds that the study does not declare, as after a variant was renamed."""
    declared = {cell.key for cell in study.cells}
    places = sorted((root / study.folder / "runs").glob("*/"))
    return [place for place in places if place.is_dir() and place.name not in declared]


def unnamed(root: Path, gone: Sequence[Path]) -> list[Path]:
    """Folders of weights and of packed images that no record in reports/ names, those in `gone` left out.

    Raises `UserError` for a record that is broken: what it names is not known.
    """
    kept = set(_named(root, gone))
    folders = sorted(path for kind in ("runs", "data") for path in (caches() / kind).glob("*/"))
    return [path for path in folders if HASHED.fullmatch(path.name) and path not in kept]


def _named(root: Path, gone: Sequence[Path]) -> Iterator[Path]:
    """The folders that records name: packed images, a run's weights, and others that its errors are of."""
    for manifest in map(read_manifest, root.glob("reports/*/data.json")):
        yield packed_at(manifest.name, manifest.hash)
    for pattern in ("runs/*", "candidate"):
        for place in set(root.glob(f"reports/*/{pattern}")) - {*gone}:
            files = RunFolder.of(place)
            if files.config.exists():
                run = read_run(files)
                weights = run.hashes.weights, run.measured.weights if run.measured else None
                yield packed_at(run.images.name, run.images.hash)
                yield from (entry_of(run.fingerprint, one).training for one in weights if one)


def tidy(study: Study, root: Path, remove: bool) -> list[str]:
    """Name what can be removed, or remove it; returns lines."""
    runs = undeclared(study, root)
    cached = unnamed(root, runs)
    lines = [f"tidy: {place}: {study.name} does not declare this run any more" for place in runs]
    lines += [f"tidy: {folder}: no record names it, {_megabytes(folder):.3g} MB" for folder in cached]
    if not lines:
        return ["tidy: nothing can be removed"]
    folders = [*runs, *cached]
    total = f"{counted(len(folders), 'folder')}, {sum(map(_megabytes, folders)):.3g} MB"
    if not remove:
        return [*lines, f"tidy: {total}: nothing was removed; to remove them: harness tidy {study.name} --yes"]
    for folder in folders:
        shutil.rmtree(folder)
        for note in folder.parent.glob(f"{folder.name}.*"):  # what is known of packed images stands beside them
            note.unlink()
    return [*lines, f"tidy: {total}: removed; git still has the runs that were committed"]


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
