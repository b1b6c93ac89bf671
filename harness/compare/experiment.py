"""The candidate of a DVC experiment, of a git revision or of the workspace, as its records have it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.commits import git, run_of
from harness.errors import UserError
from harness.record import Run, RunFolder, read_run
from harness.settings.load import load_candidate
from harness.settings.study import CANDIDATE, Study, unequal

EXPERIMENTS = "refs/exps"
"""Where DVC keeps its experiments: refs/exps/AB/CDEF.../NAME, by the commit that they began from."""

INTERNAL = ("exec", "celery", "stash", "apply", "failed")
"""What DVC keeps there besides, by the first part of its name."""


@contextmanager
def candidate_of(given: str, study: Study, root: Path) -> Iterator[Run]:
    """The evaluated candidate of the experiment or revision `given`; of the workspace where it is empty.

    Its files last as long as the context. Raises `UserError` where there is none, or it has no errors to compare.
    """
    if given:
        with run_of(find(given, root), study.candidate_results, root) as run:
            yield _measured(run, given, study)
        return
    folder = RunFolder.of(root / study.candidate_results)
    run = _measured(read_run(folder) if folder.config.exists() else None, "the workspace", study)
    settings, seed = load_candidate(root / CANDIDATE)
    if differing := [*unequal(settings, run.settings), *(["seed"] if seed != run.seed else [])]:
        raise UserError(
            f"compare: {study.candidate_results}: its {', '.join(differing)} are not those of {CANDIDATE}; run: "
            "dvc repro"
        )
    yield run


def find(given: str, root: Path) -> str:
    """The commit of a DVC experiment, by its name, or of a git revision. Raises `UserError`."""
    known = experiments(root)
    named = {commit for name, base, commit in known if name == given}
    if len(named) > 1:  # the same name from several commits
        head = (git(root, "rev-parse", "HEAD") or b"").decode().strip()
        named = {commit for name, base, commit in known if name == given and base == head} or named
    if len(named) > 1:
        raise UserError(f"compare: {given}: the name of {len(named)} experiments; name one by its commit")
    if named:
        return named.pop()
    plain = given and not given.startswith("-") and "\n" not in given
    found = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{given}^{{commit}}") if plain else None
    if found is None:
        names = ", ".join(sorted({name for name, _, _ in known})) or "there is none"
        raise UserError(f"compare: got {given!r}; allowed: a git revision, or an experiment of DVC: {names}")
    return found.decode().strip()


def experiments(root: Path) -> list[tuple[str, str, str]]:
    """DVC's experiments: name, the commit that each began from, and its own."""
    output = git(root, "for-each-ref", EXPERIMENTS, "--format=%(refname) %(objectname)") or b""
    found = []
    for line in output.decode().splitlines():
        ref, commit = line.rsplit(" ", 1)
        parts = ref.removeprefix(f"{EXPERIMENTS}/").split("/")
        if len(parts) == 3 and parts[0] not in INTERNAL:
            found.append((parts[2], parts[0] + parts[1], commit))
    return found


def _measured(run: Run | None, where: str, study: Study) -> Run:
    if run is None:
        raise UserError(f"compare: {where} has no candidate of {study.name} at {study.candidate_results}")
    if run.diverged_epoch is not None:
        raise UserError(f"compare: {where}: the candidate diverged in epoch {run.diverged_epoch}: it has no error")
    if run.measured is None or study.file.metric not in run.metrics:
        raise UserError(f"compare: {where}: the candidate has no {study.file.metric}; evaluate it: dvc repro")
    if run.measured.weights:
        raise UserError(
            f"compare: {where}: the candidate was evaluated with weights that are not those of its record; run it again"
        )
    return run
