"""What `harness compare` prints: the flip, both errors, their difference, and what the noise says of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.compare.baseline import Alike, baseline_for
from harness.compare.experiment import candidate_of
from harness.compare.noise import Noise, noise
from harness.grammar import counted
from harness.record import Run, RunFolder, read_run
from harness.report.cells import read_results
from harness.report.numbers import number, value
from harness.report.words import METRICS
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import Study, differences, unequal


def compare(given: str, study: Study, root: Path) -> list[str]:
    """Lines on the candidate of the experiment or revision `given` (the workspace's where empty) and the baseline.

    Trains the baseline where no run of it was computed as the candidate. Raises `UserError`.
    """
    with candidate_of(given, study, root) as run:
        base, whose = baseline_for(run, study, root)
        changes = flips(study, run.config.resolved)
        found = noise(_errors(study, run, root), study.baseline, study.file.confidence)
        return lines(given or "the workspace", changes, run, (base, whose), study, found)


def standing(study: Study, candidate: tuple[Settings, int], root: Path) -> list[str]:
    """Lines on the workspace's candidate: what it changes, and where its results are."""
    settings, seed = candidate
    result = read_results(study, candidate, root).candidate
    assert result is not None  # noqa: S101 - one was given
    metric = study.file.metric
    if result.run and result.status == "finished":
        what = f"{METRICS[metric]} {number(result.run.metrics[metric])} %"
    else:
        what = f"{result.status}: {result.note}; run: dvc repro" if result.status != "diverged" else result.note
    changes = flipped(flips(study, settings)) or f"nothing differs from {study.baseline}"
    return [f"candidate: {changes}; seed {seed}", f"results: {study.candidate_results}: {what}"]


def flips(study: Study, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings in which a candidate differs from the baseline, except where it was computed."""
    found = differences(study.variants[study.baseline], settings)
    return {name: pair for name, pair in found.items() if name not in MACHINE}


def flipped(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """`lrn: true -> false, dropout: 0.5 -> 0`."""
    return ", ".join(f"{name}: {value(a)} -> {value(b)}" for name, (a, b) in changes.items())


def lines(
    name: str,
    changes: Mapping[str, tuple[Any, Any]],
    run: Run,
    base: tuple[Run, str],
    study: Study,
    found: Noise | None,
) -> list[str]:
    """What is printed of two runs that can be compared. `base`: the baseline's, and whose it is."""
    key, metric = f"{study.baseline}-{run.seed}", study.file.metric
    one, other = run.metrics[metric], base[0].metrics[metric]
    return [
        f"{name}: {flipped(changes) or f'nothing differs from {study.baseline}'}",
        f"seed {run.seed}, both with {Alike.of(run.provenance)}",
        f"{METRICS[metric]}: {number(one)} %, {key}: {number(other)} % ({base[1]})",
        f"difference: {_points(one - other)} points",
        _noise_line(found),
        "one seed: no verdict",
    ]


def _noise_line(found: Noise | None) -> str:
    if found is None:
        return "noise: unknown, the study has fewer than two finished seeds"
    if found.variants:
        of = f"{counted(found.pairs, 'paired difference')} of {counted(found.variants, 'variant')}"
    else:
        of = f"{counted(found.pairs, 'run')} of the baseline, as of two independent runs"
    return (
        f"noise: sd {number(found.sd)} points (n = {of}); of two equal nets one seed's difference lies between "
        f"{_points(-found.half)} and {_points(found.half)} ({100 * found.confidence:g} %)"
    )


def _points(points: float) -> str:
    """In plain ASCII, for a terminal."""
    return number(points, sign=True).replace("−", "-")


def _errors(study: Study, like: Run, root: Path) -> dict[str, dict[int, float]]:
    """Variant -> seed -> error of the finished runs of declared settings, on the images and by the code of `like`."""
    metric = study.file.metric
    found: dict[str, dict[int, float]] = {}
    for cell in study.cells:
        folder = RunFolder.of(root / cell.results)
        if not folder.config.exists():
            continue
        run = read_run(folder)
        same = (run.images.hash, run.hashes.code) == (like.images.hash, like.hashes.code)
        if same and metric in run.metrics and not unequal(study.variants[cell.variant], run.settings):
            found.setdefault(cell.variant, {})[cell.seed] = run.metrics[metric]
    return found
