"""Publish a study: an experiment, a run an execution of it, under that a run a cell and a mean a variant.

Every run is found again by the hash of its record, so that publishing twice changes nothing. A cell that was trained
again is a new run; the old one stays, is no longer `current` and keeps the execution that it belonged to. So does the
run of a cell that is no longer declared. A run that diverged is FAILED, with the metric `diverged` 1. A mean has its
variant's verdict as the tag `verdict`, where the study's rule allows one now.
"""

from __future__ import annotations

import getpass
import json
import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.files import hash_file, hash_json, write_text
from harness.grammar import counted
from harness.record import Run
from harness.report.cells import CANDIDATE, Result, Results, read_results
from harness.report.looks import Standing, standing
from harness.report.tables import VariantRow, variant_rows
from harness.report.template import paragraph, rendered
from harness.settings.schema import Settings
from harness.settings.study import Study
from harness.tracking.store import TrackingDownError, client, experiment, shown, tracking_uri
from harness.tracking.views import save_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLOURS = ["#24292f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22"]
"""Of the variants in their order: all seeds of one alike."""

EPOCH = {
    "train_loss": "train/loss", "train_top1": "train/top1", "validation_loss": "validation/loss",
    "validation_top1": "validation/top1", "lr": "lr",
}  # fmt: skip
"""Columns of history.csv -> metrics; what stands before the slash is a section of MLflow's charts."""


@dataclass(frozen=True)
class Published:
    """What a publication came to: ids of the experiment and of the execution, how many runs are there and were new."""

    uri: str
    experiment: str = ""
    execution: str = ""
    runs: int = 0
    new: int = 0
    down: bool = False

    def __str__(self) -> str:
        if self.down:
            return f"not published: {self.uri} does not answer; `harness publish` publishes later"
        return f"published: {counted(self.runs, 'run')} ({self.new} new) at {self.uri}"


def publish(study: Study, candidate: tuple[Settings, int] | None, root: Path) -> Published:
    """Bring every run of `study` that is there to MLflow, and its report. A server that is down is said, not raised.

    Raises `UserError` for a result that is broken, and for a store that refuses.
    """
    results = read_results(study, candidate, root)
    if len(standing(study, results).ended) < len(study.seeds):
        # Nobody asked for a look: what is published before all runs are there has no verdict but by a declared one.
        results = replace(results, early=True)
    mark = root / _pending(study)
    try:
        with client(root) as mlflow:
            published = _Publication(mlflow, study, results, root).go()
    except TrackingDownError as error:
        # A server that is down fails no pipeline; the next `harness run` tries again.
        write_text(mark, f"{error}\n")
        return Published(str(error), down=True)
    mark.unlink(missing_ok=True)
    return published


def pending(study: Study) -> bool:
    return _pending(study).exists()


def _pending(study: Study) -> Path:
    return Path("build") / f"{study.name}-not-published"


class _Publication:
    def __init__(self, mlflow: MlflowClient, study: Study, results: Results, root: Path) -> None:
        self.mlflow, self.study, self.results, self.root = mlflow, study, results, root
        self.experiment = experiment(mlflow, root, study.name)
        self.there = [(r, r.run, record(r.run)) for r in results.all if r.run is not None and r.status != "stale"]

    def go(self) -> Published:
        rows = variant_rows(self.study, self.results)
        execution = self._execution(rows)
        self._retire()
        new = sum([self._cell(result, run, identity, execution) for result, run, identity in self.there])
        for row in rows:
            self._mean(row, execution)
        save_view(self.mlflow, self.experiment, self.study.file.metric)
        return Published(shown(tracking_uri(self.root)), self.experiment, execution, len(self.there), new)

    def _find(self, **tags: str) -> Any | None:
        query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
        found = self.mlflow.search_runs([self.experiment], query, max_results=1)
        if found and found[0].data.tags.get("complete") != "true":
            # Left behind by a publication that was killed: made anew.
            self.mlflow.delete_run(found[0].info.run_id)
            return None
        return found[0] if found else None

    def _make(self, name: str, tags: dict[str, str], start: float | None = None) -> str:
        tags = {"study": self.study.name, "mlflow.user": user(), "mlflow.source.name": "harness", **tags}
        begin = None if start is None else round(1000 * start)
        return str(self.mlflow.create_run(self.experiment, begin, tags, name).info.run_id)

    def _end(self, run_id: str, status: str = "FINISHED", end: float | None = None) -> None:
        self.mlflow.set_terminated(run_id, status, None if end is None else round(1000 * end))
        # Last of all: a run that is complete is never looked at again.
        self.mlflow.set_tag(run_id, "complete", "true")

    def _retire(self) -> None:
        """Runs of a cell that has another record now, or is declared no longer, are not `current` any more.

        A cell without a result keeps its last run. Candidates of other settings stand beside each other: they are the
        rows of a sweep.
        """
        now = {result.key: (self._variant(result, run), result.seed, identity) for result, run, identity in self.there}
        missing = {result.key for result in self.results.all if result.run is None}
        for old in self._search("tags.role = 'train' and tags.current = 'true'"):
            tags = old.data.tags
            cell = tags.get("cell", "")
            variant, seed, identity = now.get(cell, ("", 0, ""))
            if cell == CANDIDATE:
                keeps = (tags.get("variant"), tags.get("seed")) != (variant, str(seed))
            else:
                keeps = cell in missing
            if tags.get("record") != identity and not keeps:
                self.mlflow.set_tag(old.info.run_id, "current", "false")

    def _search(self, query: str) -> list[Any]:
        page = self.mlflow.search_runs([self.experiment], query)
        runs = list(page)
        while page.token:
            page = self.mlflow.search_runs([self.experiment], query, page_token=page.token)
            runs += page
        return runs

    def _execution(self, rows: list[VariantRow]) -> str:
        """The parent: one for each set of declared runs and what they came to, with the report."""
        identity = hash_json([self.study.declaration, sorted(identity for _, _, identity in self.there)])
        pages = [self.root / self.study.report, self.root / self.study.html]
        files = [path for path in (*pages, *sorted((self.root / self.study.folder).glob("*.*"))) if path.is_file()]
        report = hash_json([[path.name, hash_file(path)] for path in files])
        found = self._find(role="study", record=identity)
        if found and found.data.tags.get("report") == report:
            return str(found.info.run_id)
        tags = {"role": "study", "record": identity}
        run_id = str(found.info.run_id) if found else self._make(f"{self.study.name} {identity[:8]}", tags)
        for path in files:
            self.mlflow.log_artifact(run_id, str(path), "report" if path in pages else f"report/{self.study.name}")
        self.mlflow.set_tag(run_id, "mlflow.note.content", note(self.study, rows, standing(self.study, self.results)))
        self.mlflow.set_tag(run_id, "report", report)
        self._end(run_id)
        return run_id

    def _cell(self, result: Result, run: Run, identity: str, execution: str) -> bool:
        """Bring a run there; returns whether it is new."""
        found = self._find(role="train", cell=result.key, record=identity)
        if found:
            for key, value in {"mlflow.parentRunId": execution, "current": "true"}.items():
                if found.data.tags.get(key) != value:
                    self.mlflow.set_tag(found.info.run_id, key, value)
            return False
        start, times = run.provenance.started, [row["time"] for row in run.history]
        tags = self._tags(result, run, identity, execution)
        run_id = self._make(f"{tags['variant']}/s{result.seed}", tags, start)
        self._log(run_id, result, run)
        self._images(run_id, run)
        self._end(run_id, "FAILED" if result.status == "diverged" else "FINISHED", times[-1] if times else start)
        return True

    def _variant(self, result: Result, run: Run) -> str:
        """The variant's name; a candidate's says what it changes, so that two of them are not taken for one."""
        if result.variant != CANDIDATE:
            return result.variant
        base = self.study.variants[self.study.baseline].model_dump()
        changed = [f"{key}={run.settings[key]}" for key in base if run.settings.get(key) != base[key]]
        return " ".join([CANDIDATE, *changed])[:250]

    def _tags(self, result: Result, run: Run, identity: str, execution: str) -> dict[str, str]:
        p, variants = run.provenance, list(self.study.variants)
        place = variants.index(result.variant) if result.variant in variants else len(COLOURS) - 1
        tags = {
            "role": "train",
            "cell": result.key,
            "record": identity,
            "current": "true",
            "variant": self._variant(result, run),
            "seed": str(result.seed),
            "status": result.status,
            "fingerprint": run.fingerprint,
            "mlflow.parentRunId": execution,
            "mlflow.runColor": COLOURS[place % len(COLOURS)],
            "mlflow.source.git.commit": p.commit,
            "dvc.stage": p.dvc_stage,
            "dirty": p.dirty,
            "device": str(p.machine.get("device")),
            "hash.weights": run.hashes.weights,
            "hash.losses": run.hashes.losses,
            "hash.data": run.hashes.data,
            "hash.code": run.hashes.code,
        }
        return {key: value for key, value in tags.items() if value is not None}

    def _log(self, run_id: str, result: Result, run: Run) -> None:
        from mlflow.entities import Metric, Param

        last = run.history[-1] if run.history else {"epoch": 0, "time": run.provenance.started}
        moment, step, diverged = round(1000 * last["time"]), int(last["epoch"]), result.status == "diverged"
        # The compared error first: MLflow's comparison opens on the metric that was logged first.
        order = sorted(run.metrics.items(), key=lambda item: item[0] != self.study.file.metric)
        totals = [*order, ("diverged", float(diverged)), ("wall_seconds", run.provenance.wall_seconds)]
        metrics = [Metric(name, value, moment, step) for name, value in totals]
        metrics += [
            Metric(name, row[column], round(1000 * row["time"]), int(row["epoch"]))
            for row in run.history
            for column, name in EPOCH.items()
            if math.isfinite(row[column])  # MLflow shows no metric that was once not finite; `diverged` says it
        ]
        settings = {"variant": self._variant(result, run), "seed": result.seed, **run.settings}
        params = [Param(name, str(value)) for name, value in settings.items()]
        # Two calls: of one call's metrics MLflow keeps no order.
        self.mlflow.log_batch(run_id, metrics=metrics[:1], params=params)
        self.mlflow.log_batch(run_id, metrics=metrics[1:])

    def _images(self, run_id: str, run: Run) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        # MLflow takes 36 characters of a digest.
        source = json.dumps({"path": self.study.manifest.as_posix()})
        images = Dataset(name=run.images.name, digest=run.images.hash[:36], source_type="dvc", source=source)
        self.mlflow.log_inputs(run_id, [DatasetInput(images, [InputTag("mlflow.data.context", "train")])])

    def _mean(self, row: VariantRow, execution: str) -> None:
        """A variant's mean over its seeds with its spread, which MLflow does not show by itself, and its verdict."""
        if not row.finished:
            return
        from mlflow.entities import Metric

        metrics, verdict = _numbers(row), row.verdict
        found = self._find(role="mean", execution=execution, variant=row.variant)
        if found and _same(found.data.metrics, metrics) and found.data.tags.get("verdict") == verdict:
            return
        if found:
            # It says something else than the study does now, and MLflow takes no metric back: made anew.
            self.mlflow.delete_run(found.info.run_id)
        tags = {"role": "mean", "execution": execution, "variant": row.variant, "mlflow.parentRunId": execution}
        run_id = self._make(f"{row.variant} (mean of {row.finished})", tags | ({"verdict": verdict} if verdict else {}))
        self.mlflow.log_batch(run_id, [Metric(name, value, 0, 0) for name, value in metrics.items()])
        self._end(run_id)


def record(run: Run) -> str:
    """Identity of a recorded run: a training that was done again, to whatever end, has another."""
    return hash_json([hash_file(run.folder.provenance), hash_file(run.folder.metrics)])


def _numbers(row: VariantRow) -> dict[str, float]:
    """A mean's metrics, where there are such numbers: errors in percent, differences in points."""
    d, c = row.difference, row.comparison
    values = {
        row.metric: row.error.mean, f"{row.metric}_sd": row.error.sd, "n": row.finished,
        "difference": d.mean, "difference_low": d.low, "difference_high": d.high,
        "se": c.se if c else None, "adjusted_p": c.adjusted if c else None,
    }  # fmt: skip
    return {name: float(value) for name, value in values.items() if value is not None}


def _same(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether metrics agree; another machine adds in another order, and the last bits are then others."""
    near = (math.isclose(one[name], other[name], rel_tol=1e-6, abs_tol=1e-9) for name in one.keys() & other.keys())
    return one.keys() == other.keys() and all(near)


def note(study: Study, rows: list[VariantRow], now: Standing) -> str:
    """What MLflow shows on an execution's page: the question, how far the study is, and the variants in a table."""
    said = paragraph("standing", now=now, study=study)
    # MLflow takes 8,000 characters of a tag.
    return rendered("note.md.j2", purpose=study.file.purpose[:1000], said=said, rows=rows, most=40).rstrip("\n")


def user() -> str:
    """Who publishes; in a container a user may have a number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
