"""Weights that DVC carries, for studies that say `weights: dvc`: `dvc push` sends them, `dvc pull` brings them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from harness.errors import UserError
from harness.files import write_bytes
from harness.grammar import counted
from harness.pipeline import dvc
from harness.progress import say
from harness.record import Provenance, RunFolder, caches
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
    target = study.shared_weights
    folder, recorded = root / target.with_suffix(""), (root / target).exists()
    wanted, present = _names(study, root), {path.stem for path in folder.glob(f"*{SUFFIX}")}
    cached = {name: caches() / "runs" / name / FILE for name in wanted - present}
    new = {name for name, path in cached.items() if path.exists()}
    missing = counted(len(wanted - present - new), "run")
    if recorded and not new and present <= wanted:
        return
    if recorded and not wanted <= present | new:
        say(
            f"{target}: weights of {missing} are not here and nothing new is recorded; run: dvc pull {target}, then: "
            f"harness run {study.name}"
        )
        return
    for name in present - wanted:
        (folder / f"{name}{SUFFIX}").unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name in new:
        try:
            os.link(cached[name], folder / f"{name}{SUFFIX}")
        except OSError:  # a file system without hard links
            write_bytes(folder / f"{name}{SUFFIX}", cached[name].read_bytes())
    files = list(folder.glob(f"*{SUFFIX}"))
    if files:
        dvc.dvc("add", folder.as_posix())
        size = sum(path.stat().st_size for path in files) / 1e6
        without = f", {missing} without" if len(files) < len(wanted) else ""
        say(f"{target}: weights of {counted(len(files), 'run')}, {size:.3g} MB{without}; dvc push sends them")


def _names(study: Study, root: Path) -> set[str]:
    """Names of the entries of the study's finished runs."""
    names = set()
    for cell in study.cells:
        with suppress(UserError):
            record = Provenance.read(RunFolder.of(root / cell.results).provenance)
            if record.status == "finished":
                names.add(name_of(record.fingerprint, record.hashes.weights))
    return names
