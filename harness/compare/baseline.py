"""The baseline's run that a candidate is paired with: same seed, images and code, computed alike; and their noise.

The committed one where it was, else one that was kept here, else it is trained and evaluated here.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import pandas as pd
from scipy import stats

from harness.commits import run_of
from harness.data.packed import read_manifest
from harness.data.store import images_of
from harness.errors import UserError
from harness.identity.known import identity
from harness.predictions import extended
from harness.process import LIMITS, call, native_instructions
from harness.progress import clock, say
from harness.record import Run, RunFolder, caches, fingerprint, read_run
from harness.report.circumstances import arithmetic
from harness.settings.schema import MACHINE, sparse
from harness.settings.study import Cell, Study, unequal
from harness.weights import SHORT, train

EVALUATION = "eval"
"""Folder of a run's evaluation, beside its weights in the cache."""


def baseline_for(run: Run, study: Study, root: Path) -> tuple[Run, str]:
    """The evaluated run of the study's baseline with the seed of `run`, computed as `run` was, and whose it is.

    Says so where it trains one. Raises `UserError` where images or code are others, or it cannot be computed here.
    """
    cell, wanted = Cell(study.name, study.baseline, run.seed), arithmetic(run.provenance)
    records = _records(cell, study, root)
    for record in records:
        if _comparable(record, run) and arithmetic(record.provenance) == wanted:
            return record, "as recorded"
    _check_present(run, study, root)
    kept = _kept(fingerprint(study.variants[study.baseline], run.seed, run.images.hash), wanted)
    if kept and _comparable(kept, run):
        return kept, "made here"
    _check_machine(run, wanted)
    seconds = (records[0] if records else run).provenance.wall_seconds
    doing = "evaluating it" if kept else f"training it, {clock(seconds)} as recorded"
    say(f"{cell.key}: no run of it with {wanted} is here: {doing}")
    made = _make(cell, run, study, root, kept)
    if arithmetic(made.provenance) != wanted:
        raise UserError(
            f"compare: {cell.key}: this machine computes with {arithmetic(made.provenance)}, the candidate was with "
            f"{wanted}"
        )
    if made.diverged_epoch is not None:
        raise UserError(f"compare: {cell.key} diverged in epoch {made.diverged_epoch}: it has no error")
    return made, "made here"


def _records(cell: Cell, study: Study, root: Path) -> list[Run]:
    """The baseline's run with declared settings, as the workspace has it and as the last commit does."""
    folder = RunFolder.of(root / cell.results)
    runs = [read_run(folder)] if folder.config.exists() else []
    # Outside git there is no commit, and its run may be of another version.
    with suppress(UserError), run_of("HEAD", cell.results, root) as committed:
        runs += [extended(committed, study, root)] if committed else []
    return [run for run in runs if not unequal(study.variants[study.baseline], run.settings)]


def _inputs(run: Run) -> dict[str, str]:
    """What must be the same of two runs that are compared, by what is said where it is not."""
    return {
        "was run on other images": run.images.hash,
        "was trained by code of another numerics identity": run.hashes.code,
        "was evaluated by code of another numerics identity": (run.measured and run.measured.code) or "none",
    }


def _comparable(base: Run, run: Run) -> bool:
    """Whether a run of the baseline has an error of its recorded weights, and shares images and code with `run`."""
    evaluated = base.measured and not base.measured.weights and base.diverged_epoch is None
    return bool(evaluated) and _inputs(base) == _inputs(run)


def _check_present(run: Run, study: Study, root: Path) -> None:
    manifest = root / study.manifest
    images = read_manifest(manifest).hash if manifest.exists() else "none"
    present = (images, identity("train"), identity("eval"))
    for (difference, recorded), here in zip(_inputs(run).items(), present, strict=True):
        if recorded != here:
            raise UserError(
                f"compare: the candidate {difference} ({recorded[:SHORT]}) than the study's baseline would be "
                f"({here[:SHORT]}): no comparison; run the candidate again"
            )


def _check_machine(run: Run, wanted: str) -> None:
    """Refuse before anything is trained what this machine cannot compute with. Raises `UserError`."""
    import torch

    mine, instructions = native_instructions(), run.provenance.machine.get("instructions")
    if run.config.resolved.bits == "portable":
        instructions = mine if mine != "DEFAULT" else "AVX2"
    able = instructions == mine or (instructions in LIMITS and mine != "DEFAULT")
    if run.provenance.machine.get("device") != "cpu":
        able = torch.cuda.is_available()
    if not able or torch.__version__ != run.provenance.versions.get("torch"):
        raise UserError(
            f"compare: no run of the baseline with {wanted} is here, and none can be made: this machine has {mine}, "
            f"torch {torch.__version__} and {'a' if torch.cuda.is_available() else 'no'} CUDA device"
        )


def _kept(mark: str, wanted: str) -> Run | None:
    """A run in the cache of that fingerprint and computed like that, the evaluated one first."""
    runs = []
    for place in sorted((caches() / "runs").glob(f"{mark[:SHORT]}-*")):
        with suppress(UserError):  # damaged: as if it were not there
            run = read_run(RunFolder(place, place / EVALUATION))
            if run.fingerprint == mark and arithmetic(run.provenance) == wanted and run.diverged_epoch is None:
                runs.append(run)
    return max(runs, key=lambda run: run.measured is not None, default=None)


def _make(cell: Cell, like: Run, study: Study, root: Path, kept: Run | None) -> Run:
    """Train the baseline as `like` was, unless `kept` is its run, and evaluate it; both stay in the cache."""
    data, machine = images_of(study, root).folder.resolve(), like.provenance.machine
    failure = f"compare: {cell.key} cannot be made"
    if kept:
        place = kept.folder.training.resolve()
    else:
        values = {name: getattr(like.config.resolved, name) for name in MACHINE}
        values["device"] = str(machine.get("device")).partition(":")[0]
        settings = sparse(study.variants[study.baseline].model_copy(update=values))
        place = train(settings, cell.seed, machine, data, root, failure).training.resolve()
    # Evaluated in the cache: the next comparison finds it there.
    words = ("eval", place, place / EVALUATION, "--data", data)
    call(machine, *words, code=root, caches=caches(), failure=failure)
    return read_run(RunFolder(place, place / EVALUATION))


def noise(errors: pd.DataFrame, baseline: str, confidence: float) -> dict[str, float] | None:
    """Scatter of one seed's difference, in points; None where no variant has two finished pairs.

    `errors`: in percent, a column a variant and a row a seed. `sd`: the standard deviation, pooled over `variants` and
    `pairs` of runs. `half`: a difference of equal nets is within -half and +half with the `confidence`.

    The variances of the variants' paired differences to the baseline, about each one's mean, are pooled by their
    degrees of freedom. All differences share the baseline's runs, so t has only those of the largest set of seeds.
    """
    pairs = errors.drop(columns=baseline).sub(errors[baseline], axis=0)
    freedom = pairs.count()[pairs.count() > 1] - 1
    if freedom.empty:
        return None
    sd = math.sqrt((pairs[freedom.index].var() * freedom).sum() / freedom.sum())
    half = float(stats.t.ppf((1 + confidence) / 2, int(freedom.max()))) * sd
    counts = {"variants": len(freedom), "pairs": int((freedom + 1).sum())}
    return {"sd": sd, "half": half, "confidence": confidence, **counts}
