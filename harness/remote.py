"""Weights that DVC carries, for studies that say `weights: dvc`: `dvc push` sends them, `dvc pull` brings them."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from harness import pool
from harness.errors import UserError
from harness.grammar import counted
from harness.progress import say
from harness.record import RunFolder, caches, read_provenance
from harness.settings.study import Study
from harness.weights import FILE, name_of

SUFFIX = ".safetensors"


def share(study: Study, root: Path) -> None:
    """Put the weights of the study's finished runs below weights/STUDY, and have DVC record them.

    Weights that are neither in the cache nor there are missing: then nothing is recorded over what was, which may have
    them. Raises `UserError`.
    """
    if study.file.weights != "dvc":
        return
    wanted, folder = _names(study, root), root / study.shared_weights.with_suffix("")
    new = {name: source for name in wanted if not (folder / f"{name}{SUFFIX}").exists() and (source := _source(name))}
    old = [path for path in folder.glob(f"*{SUFFIX}") if path.stem not in wanted]
    recorded = (root / study.shared_weights).exists()
    missing = [name for name in wanted if name not in new and not (folder / f"{name}{SUFFIX}").exists()]
    if recorded and not new and not old:
        return
    if recorded and missing:
        say(
            f"{study.shared_weights}: weights of {counted(len(missing), 'run')} are not here and nothing new is "
            f"recorded; run: dvc pull {study.shared_weights}, then: harness run {study.name}"
        )
        return
    for path in old:
        path.unlink()
    for name, source in new.items():
        _link(source, folder / f"{name}{SUFFIX}")
    if not folder.is_dir():
        return
    pool.dvc("add", folder.as_posix())
    size = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    without = f", {counted(len(missing), 'run')} without" if missing else ""
    say(
        f"{study.shared_weights}: weights of {counted(len(wanted) - len(missing), 'run')}, {size / 1e6:.3g} MB"
        f"{without}; dvc push sends them"
    )


def _names(study: Study, root: Path) -> list[str]:
    """Names of the weights of the study's finished runs, each once."""
    found: dict[str, None] = {}
    for cell in study.cells:
        with suppress(UserError):
            record = read_provenance(RunFolder.of(root / cell.results).provenance)
            if record.status == "finished":
                found[name_of(record.fingerprint, record.hashes.weights)] = None
    return list(found)


def _source(name: str) -> Path | None:
    path = caches() / "runs" / name / FILE
    return path if path.exists() else None


def _link(source: Path, path: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
