"""The results of a study's cells, as they lie in the repository: what is there, what is not, what does not count."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from harness.data.packed import read_manifest
from harness.errors import UserError
from harness.identity.known import identity
from harness.predictions import extended
from harness.record import CURVE, Run, RunFolder, read_run
from harness.settings.schema import Settings
from harness.settings.study import TOP5_CLASSES, Study, top_of, unequal
from harness.statistics.models import Summary, summarise
from harness.statistics.sequential import nominal

CANDIDATE = "candidate"
"""The candidate's name in tables and figures."""

Status = Literal["finished", "diverged", "missing", "stale"]
"""missing: not run, or failed; stale: the run of other settings, images or code than the rest or what is declared now.
"""

Code = tuple[str, str | None]
"""Numerics identities of the code that trained and that evaluated a run."""


@dataclass(frozen=True)
class Result:
    """A declared run and what was found of it. `run` is None when it is missing; `note` says why it does not count."""

    variant: str
    seed: int
    status: Status
    note: str
    run: Run | None

    @property
    def key(self) -> str:
        return CANDIDATE if self.variant == CANDIDATE else f"{self.variant}-{self.seed}"

    @property
    def ended(self) -> Run | None:
        """The run, where it is of what is declared now: finished or diverged."""
        return self.run if self.status in ("finished", "diverged") else None


@dataclass(frozen=True)
class Results:
    """What was found of every declared cell, in the order of the study, and of the candidate (None: not declared).

    `code`: of the runs. `early`: it is looked at on purpose before the study is done.
    """

    cells: list[Result]
    candidate: Result | None
    code: Code
    early: bool = False

    @property
    def outdated(self) -> str:
        """How the code that made all of the runs differs from the present; '' where it does not.

        Made alike, they are compared: the report stands, and a run of the study makes them again.
        """
        return _other_code(self.code, present_code())

    @property
    def all(self) -> list[Result]:
        return [*self.cells, *([self.candidate] if self.candidate else [])]

    @property
    def ended(self) -> list[tuple[Result, Run]]:
        """Those that finished or diverged, with their runs."""
        return [(cell, cell.ended) for cell in self.all if cell.ended]

    @property
    def uncommitted(self) -> list[Result]:
        """The runs that were made with changes which their commit does not hold."""
        return [cell for cell, run in self.ended if run.provenance.dirty]

    @property
    def other_weights(self) -> list[Result]:
        """The runs whose errors are those of other weights than they recorded: see `record.Metrics`."""
        return [cell for cell, run in self.ended if run.measured and run.measured.weights]

    def of(self, variant: str) -> list[Result]:
        return [cell for cell in self.cells if cell.variant == variant]

    def finished(self, variant: str) -> dict[int, Run]:
        return {c.seed: c.run for c in self.of(variant) if c.status == "finished" and c.run}


def read_results(study: Study, candidate: tuple[Settings, int] | None, root: Path, early: bool = False) -> Results:
    """Read every declared run below `root`, and the candidate. Raises `UserError` for a file that is broken."""
    path = root / study.manifest
    images = read_manifest(path).hash if path.exists() else None  # None: they were never packed
    found = [(cell, _read(RunFolder.of(root / cell.results))) for cell in study.cells]
    # Runs that were all made by the same earlier code can be compared with each other, and with no others.
    codes = {
        code_of(run)
        for cell, run in found
        if run and run.measured and not _other_run(run, cell.seed, study.variants[cell.variant], images)
    }
    code = codes.pop() if len(codes) == 1 else present_code()

    def result(run: Run | None, variant: str, seed: int, declared: Settings) -> Result:
        if run is None:
            return Result(variant, seed, "missing", "no result; not run yet, or failed", None)
        if run.measured is None:
            return Result(variant, seed, "missing", "trained, and not evaluated", None)
        run = extended(run, study, root)
        if why := _other_run(run, seed, declared, images) or _other_code(code_of(run), code):
            return Result(variant, seed, "stale", why, run)
        if run.diverged_epoch is not None:
            return Result(variant, seed, "diverged", f"the loss was not finite in epoch {run.diverged_epoch}", run)
        metric = study.file.metric
        if metric not in run.metrics:
            few = top_of(metric) == 5 and run.images.classes < TOP5_CLASSES
            why = f", and with {run.images.classes} classes top-5 is not measured" if few else ""
            raise UserError(f"{run.folder.metrics}: {metric}: missing; the study compares it{why}")
        return Result(variant, seed, "finished", "", run)

    cells = [result(run, cell.variant, cell.seed, study.variants[cell.variant]) for cell, run in found]
    one = None
    if candidate:
        one = result(_read(RunFolder.of(root / study.candidate_results)), CANDIDATE, candidate[1], candidate[0])
    return Results(cells, one, code, early)


def present_code() -> Code:
    """Numerics identities of the code at hand."""
    return identity("train"), identity("eval")


def code_of(run: Run) -> Code:
    """Numerics identities of the code that made a run and its errors."""
    return run.hashes.code, run.measured.code if run.measured else None


def _read(folder: RunFolder) -> Run | None:
    return read_run(folder) if folder.config.exists() else None


def _other_run(run: Run, seed: int, declared: Settings, images: str | None) -> str:
    """Why a run is not the declared one; '' where it is."""
    differing = unequal(declared, run.settings) + ["seed"] * (run.seed != seed)
    if differing:
        return f"its result is of other settings: {', '.join(differing)}"
    if images and run.images.hash != images:
        return f"its images are {run.images.hash[:12]}, the study's are {images[:12]}"
    return ""


def _other_code(code: Code, wanted: Code) -> str:
    """How the code of a run differs from another; '' where it does not."""
    if code[0] != wanted[0]:
        return f"its numerics identity is {code[0][:12]}, not {wanted[0][:12]}"
    if code[1] != wanted[1]:
        return f"it was evaluated by code {(code[1] or 'unknown')[:12]}, not {(wanted[1] or 'unknown')[:12]}"
    return ""


@dataclass(frozen=True)
class Standing:
    """What a report may say at this point of a study.

    `interim`: the study is not done. `judged`: its rule allows verdicts now. `look`: number of the look from 1, 0
    before the first; None where none is declared. `seeds`: those that are compared. `ended`: seeds of which every
    variant's run has ended. `alpha`: of this look, that p-values are held against and that intervals are made for.
    """

    interim: bool
    judged: bool
    look: int | None
    seeds: tuple[int, ...]
    ended: tuple[int, ...]
    alpha: float


def standing(study: Study, results: Results) -> Standing:
    """Where the study stands with these results.

    A seed is complete when every variant's run with it has finished or diverged. A look is made on the first complete
    seeds, as many as it has: what finished since waits for the next one.
    """
    finished = {(c.variant, c.seed) for c in results.cells if c.ended}
    ended = tuple(seed for seed in study.seeds if all((variant, seed) in finished for variant in study.variants))
    every = tuple(study.seeds)
    if not study.file.looks:
        return Standing(results.early, not results.early, None, every, ended, study.alpha)
    look = sum(number <= len(ended) for number in study.file.looks)
    if not look:
        return Standing(True, False, 0, every, ended, study.alpha)
    family = len(study.variants) - 1 if study.file.family is None else len(study.file.family)
    alphas = nominal(tuple(study.file.looks), study.alpha, max(1, family))
    seeds = ended[: study.file.looks[look - 1]]
    return Standing(look < len(alphas), True, look, seeds, ended, alphas[look - 1])


def unless_done(study: Study, results: Results) -> Results:
    """The results, as looked at early while a run is missing: then verdicts come at declared interim analyses alone."""
    return replace(results, early=True) if len(standing(study, results).ended) < len(study.seeds) else results


def check_early(study: Study, results: Results) -> None:
    """Refuse an interim report on a study that is done. Raises `UserError`."""
    now = standing(study, results)
    if len(now.ended) == len(study.seeds) and (now.look is None or not now.interim):
        raise UserError(f"report: --interim: every run of {study.name} has ended; make its report without --interim")


def rerun(study: Study, variants: Sequence[str]) -> str:
    """The command that runs every seed of some variants again, and brings the report up to date."""
    return f"harness run {study.name} --force --only {','.join(variants)}"


ERRORS = (
    "test_top1", "test_top1_10crop", "test_top5", "test_top5_10crop", "train_top1", "train_top5", "validation_top1",
    "validation_top5",
)  # fmt: skip
"""Errors of a run, in percent, where its data has them."""


def errors_of(runs: Sequence[Run], *others: str) -> dict[str, Summary]:
    """Each of ERRORS, and of `others`, that all of the runs have; and the gap, test less training error."""
    summaries = {
        name: summarise(run.metrics[name] for run in runs)
        for name in dict.fromkeys((*ERRORS, *others))
        if runs and all(name in run.metrics for run in runs)
    }
    if {"test_top1", "train_top1"} <= summaries.keys():
        summaries["gap"] = summarise(run.metrics["test_top1"] - run.metrics["train_top1"] for run in runs)
    return summaries


CELL_COLUMNS = [
    "variant", "seed", "status", "note", *ERRORS, "test_loss", "diverged_epoch", "wall_seconds", "parameters",
    "fingerprint", "commit", "dirty", "code", "data", "batch_order", "augmentation", "losses", "weights", "device",
    "device_name", "threads", "cpu", "instructions", "os", "python", "torch", "numpy", "cuda", "cudnn", "packages",
    "command",
]  # fmt: skip


def cells_csv(study: Study, results: Results) -> list[dict[str, Any]]:
    """A row a declared run, and the candidate's: what its records say, as far as there are any."""
    table = []
    for cell in results.all:
        row: dict[str, Any] = {"variant": cell.variant, "seed": cell.seed, "status": cell.status, "note": cell.note}
        if run := cell.run:
            made = run.provenance
            stored = {**made.machine, **made.versions, **made.model_dump(), **run.hashes.model_dump(), **run.metrics}
            # By its present name: its record may have that of a variant, or of a study, before it was renamed.
            place = "params.yaml" if cell.variant == CANDIDATE else f"{study.name}:{cell.key}"
            stored["command"] = f"python -m harness train {place}"
            row = {key: stored.get(key) for key in (*CELL_COLUMNS, *study.file.metrics)} | row
        table.append(row)
    return table


CURVE_COLUMNS = ["variant", "seed", "status", "epoch", *CURVE]


def curves_csv(results: Results) -> list[dict[str, Any]]:
    """A row an epoch of every run that counts or diverged, and of the candidate; what is not finite stays as it is.

    Six digits are more than a curve needs, and keep a large study's file small; all of them are in its history.csv.
    """
    return [
        {"variant": cell.variant, "seed": cell.seed, "status": cell.status, "epoch": int(row["epoch"])}
        | {column: float(f"{row[column]:.6g}") for column in CURVE}
        for cell, run in results.ended
        for row in run.history
    ]


MADE_BY = ["runs", "command"]
"""Columns of a table with a row a variant: its runs, as seed: fingerprint, and what makes them and the baseline's."""


def carried(study: Study, results: Results, table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a table with a row a variant, each with what made its numbers: see `MADE_BY`."""

    def made(variant: str) -> dict[str, str]:
        cells = [results.candidate] if variant == CANDIDATE else results.of(variant)
        runs = [f"{c.seed}: {c.run.fingerprint[:12]}" for c in cells if c and c.run and c.status == "finished"]
        pair = list(dict.fromkeys([variant, study.baseline]))
        return {"runs": "; ".join(runs), "command": rerun(study, [variant] if variant == CANDIDATE else pair)}

    return [row | made(row["variant"]) for row in table]
