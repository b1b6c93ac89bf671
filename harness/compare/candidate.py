"""`harness compare`: a candidate against the baseline's run, and what the study's noise says of their difference."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from harness.commits import commit_of, git, run_of
from harness.compare.baseline import baseline_for, noise
from harness.diff.table import points
from harness.errors import UserError
from harness.predictions import extended
from harness.record import Run, RunFolder, read_run
from harness.report.circumstances import arithmetic
from harness.report.format import METRICS, number, paragraph, value
from harness.report.runs import read_results
from harness.settings.load import load_candidate
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import CANDIDATE, Study, differences, unequal

EXPERIMENTS = "refs/exps/*/*/*"
"""Where DVC keeps its experiments: refs/exps/AB/CDEF.../NAME, by the commit that they began from."""


def compare(experiment: str, study: Study, root: Path) -> list[str]:
    """Lines on the candidate of the `experiment` or revision (the workspace's where empty) and the baseline.

    Trains the baseline where no run of it was computed as the candidate. Raises `UserError`.
    """
    with candidate_of(experiment, study, root) as run:
        base, whose = baseline_for(run, study, root)
        base = extended(base, study, root)
        metric = study.file.metric
        one, other = run.metrics[metric], base.metrics[metric]
        scatter = noise(_errors(study, run, root), study.baseline, study.file.confidence)
        return [
            f"{experiment or 'the workspace'}: {_flips(study, run.config.resolved)}",
            f"seed {run.seed}, both with {arithmetic(run.provenance)}",
            f"{METRICS[metric]}: {number(one)} %, {study.baseline}-{run.seed}: {number(other)} % ({whose})",
            f"difference: {points(one - other)} points",
            paragraph("scatter", noise=scatter, points=points),
            "one seed: no verdict",
        ]


def standing(study: Study, candidate: tuple[Settings, int], root: Path) -> list[str]:
    settings, seed = candidate
    result = read_results(study, candidate, root).candidate
    assert result is not None  # noqa: S101 - one was given
    metric = study.file.metric
    if result.run and result.status == "finished":
        outcome = f"{METRICS[metric]} {number(result.run.metrics[metric])} %"
    else:
        outcome = f"{result.status}: {result.note}; run: dvc repro" if result.status != "diverged" else result.note
    return [f"candidate: {_flips(study, settings)}; seed {seed}", f"results: {study.candidate_results}: {outcome}"]


@contextmanager
def candidate_of(experiment: str, study: Study, root: Path) -> Iterator[Run]:
    """The evaluated candidate of the `experiment` or revision; of the workspace where it is empty.

    Its files last as long as the context. Raises `UserError` where there is none, or it has no errors to compare.
    """
    if experiment:
        with run_of(find(experiment, root), study.candidate_results, root) as run:
            yield _measured(run, experiment, study, root)
        return
    folder = RunFolder.of(root / study.candidate_results)
    run = _measured(read_run(folder) if folder.config.exists() else None, "the workspace", study, root)
    settings, seed = load_candidate(root / CANDIDATE)
    if others := [*unequal(settings, run.settings), *(["seed"] if seed != run.seed else [])]:
        raise UserError(
            f"compare: {study.candidate_results}: its {', '.join(others)} are not those of {CANDIDATE}; run: dvc repro"
        )
    yield run


def find(name: str, root: Path) -> str:
    """The commit of a DVC experiment, by its name, or of a git revision. Raises `UserError`.

    Of several experiments of one name it is the one that began from the last commit.
    """
    refs = git(root, "for-each-ref", EXPERIMENTS, "--format=%(refname) %(objectname)") or ""
    experiments = re.findall(r"(?m)^refs/exps/(..)/(.*)/(.*) (.*)$", refs)
    begun = {start + rest: commit for start, rest, experiment, commit in experiments if experiment == name}
    commits = [begun[head]] if (head := commit_of("HEAD", root)) in begun else [*begun.values()]
    if len(commits) > 1:
        raise UserError(f"compare: {name}: the name of {len(commits)} experiments; name one by its commit")
    commit = commits[0] if commits else commit_of(name, root)
    if commit is None:
        names = ", ".join(sorted({experiment for _, _, experiment, _ in experiments})) or "there is none"
        raise UserError(f"compare: got {name!r}; allowed: a git revision, or an experiment of DVC: {names}")
    return commit


def _measured(run: Run | None, where: str, study: Study, root: Path) -> Run:
    if run is None:
        raise UserError(f"compare: {where} has no candidate of {study.name} at {study.candidate_results}")
    run = extended(run, study, root)
    if run.measured is None or run.measured.weights or study.file.metric not in run.metrics:
        raise UserError(
            f"compare: {where}: the candidate has no {study.file.metric} of its recorded weights: it diverged, or is "
            "to be evaluated: dvc repro"
        )
    return run


def _flips(study: Study, settings: Settings) -> str:
    """What a candidate changes, except where it was computed: `lrn: true -> false, dropout: 0.5 -> 0`."""
    changes = differences(study.variants[study.baseline], settings)
    flips = [f"{name}: {value(a)} -> {value(b)}" for name, (a, b) in changes.items() if name not in MACHINE]
    return ", ".join(flips) or f"nothing differs from {study.baseline}"


def _errors(study: Study, like: Run, root: Path) -> pd.DataFrame:
    """A column a variant, a row a seed: finished runs of declared settings, on the images and by the code of `like`."""
    metric = study.file.metric
    errors = pd.DataFrame(index=study.seeds, columns=list(study.variants), dtype=float)
    for cell in read_results(study, None, root).cells:
        run = cell.run
        if not run or (run.images.hash, run.hashes.code) != (like.images.hash, like.hashes.code):
            continue
        if metric in run.metrics and not unequal(study.variants[cell.variant], run.settings):
            errors.loc[cell.seed, cell.variant] = run.metrics[metric]
    return errors
