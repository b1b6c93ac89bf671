"""Taking back what a run left that the last commit does not hold: a study's results, or the candidate's flip alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from harness.commits import changed, commit_of, files_of, held, restore
from harness.errors import UserError
from harness.files import write_bytes
from harness.grammar import counted, verb
from harness.pipeline.dvc_files import lock_of, path_of, places, sources
from harness.settings.study import CANDIDATE, Study

CANDIDATE_STAGES = ("train-candidate", "eval-candidate")

REPORT_FILES = (".csv", ".svg", ".md")
"""Endings of what the report stage writes into a study's folder."""


def discard(study: Study, root: Path) -> list[str]:
    """Bring back a study's results as the last commit has them; returns a line on each place that differed.

    Nothing else is touched. Raises `UserError` outside git, and where the last commit has no results of the study.
    """
    return _restored("discard", places(study), root) or [f"discard: {study.name}: nothing differs from the last commit"]


def reset_candidate(study: Study, root: Path) -> list[str]:
    """Take back the candidate's flip: params.yaml and its records are those of the last commit; returns lines.

    Where nothing else differs that the report is made of, the report and DVC's record come back as well. Otherwise
    these stay, except what DVC has recorded of the candidate. Raises `UserError` outside git, and where the last commit
    has no params.yaml.
    """
    lines = _restored("candidate", [CANDIDATE.as_posix(), study.candidate_results.as_posix()], root)
    if not lines:
        return ["candidate: nothing differs from the last commit"]
    outputs, others = _apart(study, root)
    if not others:
        if made := restore(root, held(root, outputs)):
            lines.append(f"candidate: report, dvc.lock and checked.json: {counted(len(made), 'file')} likewise")
    else:
        _restore_stages(lock_of(path_of(study)), root)
        more = f" and {counted(len(others) - 2, 'more file')}" if len(others) > 2 else ""
        lines.append(
            f"candidate: {', '.join(others[:2])}{more} {verb(len(others), 'differ')} from the last commit as well, "
            "and the report is not touched; `dvc repro` makes it again"
        )
    return lines


def _restored(command: str, paths: Sequence[str], root: Path) -> list[str]:
    """Bring back those of `paths` that the last commit has; returns a line on each that differed."""
    places = held(root, paths)
    if not places:
        where = "" if commit_of("HEAD", root) else f"{root.resolve()} is in no git repository with a commit: "
        raise UserError(f"{command}: {where}the last commit has none of {', '.join(paths)}; nothing to go back to")
    lines = []
    for path in places:
        if names := restore(root, [path]):
            kept = sum((root / name).exists() for name in names)
            removed = f", {counted(len(names) - kept, 'new file')} removed" if kept < len(names) else ""
            lines.append(f"{command}: {path}: {counted(kept, 'file')} brought back from the last commit{removed}")
    return lines


def _apart(study: Study, root: Path) -> tuple[list[str], list[str]]:
    """What differs from the last commit: outputs of the report and of `check`, and all else that belongs to the study.

    Edits of the code are neither: DVC sees them whatever is brought back.
    """
    pages = study.report, study.html, study.index, study.summary
    made = [path.as_posix() for path in (*pages, lock_of(path_of(study)), study.checked)]
    outputs, others = list[str](), changed(root, sources(study))
    for name in changed(root, places(study)):
        path = PurePosixPath(name)
        tables = path.parent == PurePosixPath(study.folder) and path.suffix in REPORT_FILES
        (outputs if tables or name in made else others).append(name)
    return outputs, others


def _restore_stages(lock: Path, root: Path) -> None:
    """Put what the last commit's dvc.lock has of the candidate's stages into the present one.

    DVC would otherwise train the candidate again, whose records are back already.
    """
    name = lock.as_posix()
    committed = files_of("HEAD", [name], root).get(name)
    if committed is None or not (root / lock).exists():
        return
    present = (root / lock).read_bytes()
    for stage in CANDIDATE_STAGES:
        # DVC writes a stage as a key that is indented by two, and what it has of it by four.
        block = re.compile(rf"^  {stage}:\n(?:    .*\n)*".encode(), re.MULTILINE)
        new, old = block.search(present), block.search(committed)
        if new and old:
            present = present[: new.start()] + old[0] + present[new.end() :]
    write_bytes(root / lock, present)
