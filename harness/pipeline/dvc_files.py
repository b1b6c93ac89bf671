"""The DVC pipeline of a study: its list of runs, which is generated, and what DVC has recorded of them.

The stages are written by hand, in dvc.yaml at the root for the default study and in one file for all study folders.
DVC can neither expand a plan nor look a name up in a study that extends another: `cells.yaml` has what it needs.
"""

import os
import re
from contextlib import suppress
from functools import reduce
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from harness.errors import UserError
from harness.files import atomic, read_json, read_yaml, write_bytes
from harness.progress import say
from harness.settings.declared import path_of as declarations
from harness.settings.load import lineage
from harness.settings.study import CANDIDATE as CANDIDATE_FILE
from harness.settings.study import DEFAULT, Study

STAGES = DEFAULT.parent / "pipeline.yaml"
"""The stages of a study folder: `harness run` copies this file there, as dvc.yaml.

Git does not hold the copies, since every DVC command reads all pipelines of a repository.
"""

PLACE = re.compile(rf"{DEFAULT.parent}/[\w.-]+/{re.escape(DEFAULT.name)}", re.ASCII)
"""Where the file of a study must lie for its stages, from the repository."""

CELLS = "cells.yaml"
CANDIDATE = "candidate"
ROOT = Path("dvc.yaml")
LOCKS = Path(".dvc/tmp/locks")
"""Copies of the last sound dvc.lock of each pipeline."""


def path_of(study: Study) -> Path:
    """The DVC file that runs the study: its own beside it, or the one at the root for the default study."""
    return ROOT if study.is_default else study.path.parent / "dvc.yaml"


def folders_of(study: Study) -> dict[str, Path]:
    """The folders of the records of a study's runs, by their names; the candidate's beside the default study."""
    runs = {cell.key: cell.results for cell in study.cells}
    return runs | ({CANDIDATE: study.candidate_results} if study.is_default else {})


def cells_of(study: Study) -> dict[str, Any]:
    """The content of cells.yaml: what DVC's matrix runs over."""
    parents = [path.as_posix() for path in lineage(study.path)]
    return {
        "name": study.name,
        "folder": study.path.parent.as_posix(),
        "parent": parents[min(1, len(parents) - 1)],
        "first": f"{study.baseline}-{study.seeds[0]}",
        "seeds": study.seeds,
        "variants": [*study.variants],
    }


def _is_declared(path: Path, study: Study) -> bool:
    """Whether a cells.yaml names what the study declares, however it is written; not where it is missing or broken."""
    with suppress(UserError):
        return bool(read_yaml(path) == cells_of(study))
    return False


def check_place(study: Study) -> None:
    """Refuse a study that DVC cannot run where its file lies: its stages name the repository as `../..`.

    Raises `UserError`.
    """
    if not study.is_default and not PLACE.fullmatch(os.path.relpath(study.path)):
        raise UserError(
            f"{study.path}: DVC cannot run a study that lies here; allowed: {DEFAULT.parent}/FOLDER/{DEFAULT.name}, "
            "FOLDER of letters, digits, `.`, `_` and `-`"
        )


def write_pipeline(study: Study) -> None:
    """Bring a study folder's cells.yaml up to date, and give it the stages where it has none. Raises `UserError`."""
    if study.is_default:
        return
    check_place(study)
    path = study.path.parent / CELLS
    if not _is_declared(path, study):
        with atomic(path) as file:
            file.write(f"# Written by `harness run {study.name}`: what DVC's matrix runs over.\n".encode())
            YAML(typ="safe").dump(cells_of(study), file)
        say(f"wrote {path}")
    if not path_of(study).exists():
        write_bytes(path_of(study), STAGES.read_bytes())
        say(f"wrote {path_of(study)}")


def check_pipeline(study: Study) -> None:
    """Refuse a study folder whose pipeline, where it has one, is not what the study declares.

    Raises `UserError`.
    """
    path, stages = study.path.parent / CELLS, path_of(study)
    if study.is_default or not (path.exists() or stages.exists()):
        return
    if not _is_declared(path, study):
        raise UserError(f"{path}: is not what {study.path} declares; run: harness run {study.name}")
    if stages.exists() and stages.read_bytes() != STAGES.read_bytes():
        raise UserError(f"{stages}: differs from {STAGES}, of which it is a copy; run: cp {STAGES} {stages}")


def lock_of(pipeline: Path) -> Path:
    return pipeline.with_suffix(".lock")


def places(study: Study) -> list[str]:
    """What running a study writes and git keeps, relative to the repository.

    Its report with all records, what DVC has recorded, what its stages depend on and, where DVC keeps its weights,
    their hashes.
    """
    paths = [study.folder, study.report, study.html, study.index, lock_of(path_of(study)), study.checked]
    return [path.as_posix() for path in (*paths, *([study.shared_weights] if study.file.weights == "dvc" else []))]


def sources(study: Study) -> list[str]:
    """What the results of a study are made of, and git keeps beside them: what was declared, and its list of runs."""
    paths = [*lineage(study.path), declarations(study)]
    paths += [CANDIDATE_FILE] if study.is_default else [study.path.parent / CELLS]
    paths += [study.shared_weights.with_name(".gitignore")] if study.file.weights == "dvc" else []
    return [*(path.as_posix() for path in paths), *([study.file.claims] if study.file.claims else []),
            *study.file.metrics.values()]  # fmt: skip


def is_recorded() -> bool:
    """Whether DVC has what the stage of this process depends on as recorded: it runs it again as it was told to.

    So it is after `dvc repro -f`, and where the files of the stage are gone or were altered.
    """
    stage = os.environ.get("DVC_STAGE", "")
    pipeline, _, name = stage.rpartition(":")
    lock = lock_of(Path(pipeline or ROOT))
    if not stage or not lock.exists():
        return False
    recorded = (read_yaml(lock).get("stages") or {}).get(name) or {}
    params = recorded.get("params") or {}
    # Names of keys are dotted paths, from the folder that the stage runs in: this one.
    return bool(params) and all(
        reduce(lambda at, part: at.get(part) if isinstance(at, dict) else None, key.split("."), read_json(Path(file)))
        == value
        for file, keys in params.items()
        if file.endswith(".json")
        for key, value in keys.items()
    )


def keep_lock(pipeline: Path) -> None:
    """Guard what DVC has recorded of a pipeline: a sound dvc.lock is copied, a damaged one replaced by its copy.

    DVC writes the file in place, so whatever kills it can leave a part, and every DVC command then fails.
    Raises `UserError` for a damaged one without a copy.
    """
    lock = lock_of(pipeline)
    copy = LOCKS / lock
    if not lock.exists():
        return
    content = lock.read_bytes()
    if _sound(lock, content):
        write_bytes(copy, content)
    elif copy.exists():
        write_bytes(lock, copy.read_bytes())
        say(f"{lock}: damaged, as by a kill while DVC wrote it; replaced by its last sound copy")
    else:
        raise UserError(
            f"{lock}: damaged, as by a merge or a kill while DVC wrote it; run: git checkout HEAD -- {lock}"
        )


def _sound(lock: Path, content: bytes) -> bool:
    try:
        values = read_yaml(lock)
    except UserError:
        return False
    return content.endswith(b"\n") and isinstance(values, dict) and "stages" in values
