"""Publish a study: an experiment with a run for its report, one for each variant's mean, and below a mean its runs.

A run's identity is the hash of its records, so publishing twice changes nothing. A run that was trained again is a new
one, as are a report and means of other results. What they replace stays, with the tag `current` "false"; so does the
run of a variant that is no longer declared. A run that diverged is FAILED, with the metric `diverged` 1.
"""

from __future__ import annotations

import getpass
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.files import hash_file, hash_json, read_json
from harness.grammar import counted
from harness.record import Run
from harness.report.format import paragraph, rendered
from harness.report.runs import CANDIDATE, Result, Results, read_results, standing, unless_done
from harness.report.variants import VariantRow, variant_rows
from harness.settings.schema import Settings, recorded
from harness.settings.study import Study
from harness.tracking.database import client, experiment, shown, tracking_uri
from harness.tracking.views import links, view_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLOURS = ["#24292f", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22"]
"""Of the variants in their order: all seeds of one alike."""

EPOCH = {
    "train_loss": "train/loss", "train_top1": "train/top1", "validation_loss": "validation/loss",
    "validation_top1": "validation/top1", "lr": "lr",
}  # fmt: skip
"""Columns of history.csv -> metrics; what stands before the slash is a section of MLflow's charts."""

MOST = 50_000
"""Runs that MLflow gives in one answer."""


@dataclass(frozen=True)
class Publication:
    """What a publication came to: ids of the experiment and of the execution, how many runs are there and were new."""

    uri: str
    experiment: str = ""
    execution: str = ""
    runs: int = 0
    new: int = 0

    def __str__(self) -> str:
        return f"published: {counted(self.runs, 'run')} ({self.new} new) at {self.uri}"


def publish(study: Study, candidate: tuple[Settings, int] | None, root: Path) -> Publication:
    """Bring every run of `study` that is there to MLflow, and its report.

    Raises `UserError` for a result that is broken, and for a store that does not answer or refuses.
    """
    results = unless_done(study, read_results(study, candidate, root))
    with client(root) as mlflow:
        return _Publication(mlflow, study, results, root).go()


class _Publication:
    def __init__(self, mlflow: MlflowClient, study: Study, results: Results, root: Path) -> None:
        from mlflow import entities

        self.mlflow, self.study, self.results, self.root, self.entities = mlflow, study, results, root, entities
        self.experiment = experiment(mlflow, root, study.name)
        # A training that was done again, to whatever end, has another identity.
        self.runs = [
            (r, r.run, hash_json([hash_file(r.run.folder.provenance), hash_file(r.run.folder.metrics)]))
            for r in results.all
            if r.run is not None and r.status != "stale"
        ]
        # Later than any run: MLflow lists the latest first, so the report, then the means, then runs without a mean.
        ends = (run.provenance.started + run.provenance.wall_seconds for _, run, _ in self.runs)
        self.end = 1 + max(ends, default=0)

    def go(self) -> Publication:
        rows = sorted(variant_rows(self.study, self.results), key=lambda row: row.difference.mean or 0)
        pages = [self.root / self.study.report, self.root / self.study.html]
        files = [path for path in (*pages, *sorted((self.root / self.study.folder).glob("*.*"))) if path.is_file()]
        identity = hash_json(
            [
                self.study.declaration,
                sorted(identity for _, _, identity in self.runs),
                [[row.variant, row.verdict, _numbers(row)] for row in rows],
                [[path.name, hash_file(path)] for path in files],
            ]
        )
        execution = self._execution(identity, rows, files)
        means = {row.variant: self._mean(row, place, identity) for place, row in enumerate(rows) if row.finished}
        cells = [self._cell(result, run, identity, means.get(result.variant)) for result, run, identity in self.runs]
        self._retire({execution, *means.values(), *(run_id for run_id, _ in cells)})
        tags = self.mlflow.get_experiment(self.experiment).tags
        described = {"mlflow.note.content": self._summary(execution), **view_tags(self.study.file.metric)}
        for key, value in described.items():
            if tags.get(key) != value:
                self.mlflow.set_experiment_tag(self.experiment, key, value)
        new = sum(is_new for _, is_new in cells)
        return Publication(shown(tracking_uri(self.root)), self.experiment, execution, len(cells), new)

    def _summary(self, execution: str) -> str:
        """How far the study is, the report's answer where one was made, and a link to it."""
        path = self.root / self.study.summary
        answer = read_json(path)["answer"] if path.exists() else ""
        link = links("", self.experiment, execution, f"{self.study.name}.html")["report"].lstrip("/")
        now = paragraph("standing", now=standing(self.study, self.results), study=self.study)
        return " ".join(filter(None, [now, answer, f"[Report]({link})"]))

    def _once(
        self,
        name: str,
        identity: dict[str, str],
        tags: dict[str, str],
        times: tuple[float, float],
        log: Callable[[str], None],
        status: str = "FINISHED",
    ) -> tuple[str, bool]:
        """The current run with the tags `identity`, made by `log` where it is not there: its id, and whether it is new.

        `times`: its start and end, in seconds.
        """
        common = {"study": self.study.name, "mlflow.user": user(), "mlflow.source.name": "harness", "current": "true"}
        tags = common | identity | tags
        query = " and ".join(f"tags.{key} = '{value}'" for key, value in identity.items())
        for old in self.mlflow.search_runs([self.experiment], query, max_results=1):
            if old.data.tags.get("complete") == "true":
                for key in tags.keys() & {"current", "mlflow.parentRunId"}:
                    if old.data.tags.get(key) != tags[key]:
                        self.mlflow.set_tag(old.info.run_id, key, tags[key])
                return str(old.info.run_id), False
            self.mlflow.delete_run(old.info.run_id)  # left behind by a publication that was killed: made anew
        start, end = (round(1000 * time) for time in times)
        run_id = str(self.mlflow.create_run(self.experiment, start, tags, name).info.run_id)
        log(run_id)
        self.mlflow.set_terminated(run_id, status, end)
        # Last of all: a run that is complete is never looked at again.
        self.mlflow.set_tag(run_id, "complete", "true")
        return run_id, True

    def _retire(self, published: set[str]) -> None:
        """Runs that another publication brought are not `current` any more: old reports and means, runs of a cell that
        has another record now, or is declared no longer.

        A cell without a result keeps its last run. Candidates of other settings stand beside each other: they are the
        rows of a sweep.
        """
        candidates = {(self._variant(result, run), str(result.seed)) for result, run, _ in self.runs}
        missing = {result.key for result in self.results.all if result.run is None}
        for old in self.mlflow.search_runs([self.experiment], "tags.current = 'true'", max_results=MOST):
            tags = old.data.tags
            cell = tags.get("cell", "")
            other = (tags.get("variant"), tags.get("seed")) not in candidates
            keeps = other if cell == CANDIDATE else cell in missing
            if old.info.run_id not in published and not keeps:
                self.mlflow.set_tag(old.info.run_id, "current", "false")
            elif cell in missing and "mlflow.parentRunId" in tags:
                # Its mean is not current any more; below it, MLflow would show that too.
                self.mlflow.delete_tag(old.info.run_id, "mlflow.parentRunId")

    def _execution(self, identity: str, rows: list[VariantRow], files: list[Path]) -> str:
        """The study's run, with its report: one for each set of declared runs, what they came to, and its report."""
        finished = sum(row.finished for row in rows)

        def log(run_id: str) -> None:
            for path in files:
                inner = path.parent == self.root / self.study.folder
                self.mlflow.log_artifact(run_id, str(path), f"report/{self.study.name}" if inner else "report")
            text = note(self.study, rows, self._summary(run_id))
            self.mlflow.set_tag(run_id, "mlflow.note.content", text)
            verdicts = Counter(f"variants/{row.verdict}" for row in rows if row.verdict)
            self._log_numbers(run_id, {"runs": finished, "variants": len(rows) - 1, **verdicts})

        end = self.end + len(rows) / 1000
        tags = {"role": "study", "record": identity}
        return self._once(f"Report ({counted(finished, 'run')})", tags, {}, (end, end), log)[0]

    def _log_numbers(self, run_id: str, numbers: Mapping[str, float]) -> None:
        self.mlflow.log_batch(run_id, [self.entities.Metric(name, float(n), 0, 0) for name, n in numbers.items()])

    def _mean(self, row: VariantRow, place: int, execution: str) -> str:
        """A variant's mean over its seeds, with its difference to the baseline and its verdict; returns its id."""
        end = self.end + (len(self.study.variants) - 1 - place) / 1000
        verdict = "baseline" if row.is_baseline else row.verdict or "none"
        return self._once(
            f"{row.variant} (n = {row.finished})",
            {"role": "mean", "execution": execution, "variant": row.variant},
            {"verdict": verdict, "mlflow.runColor": self._colour(row.variant)},
            (end, end),
            lambda run_id: self._log_numbers(run_id, _numbers(row)),
        )[0]

    def _cell(self, result: Result, run: Run, identity: str, mean: str | None) -> tuple[str, bool]:
        """Bring a run there; returns its id, and whether it is new."""
        p = run.provenance
        tags = {
            "variant": self._variant(result, run),
            "seed": str(result.seed),
            "status": result.status,
            "fingerprint": run.fingerprint,
            "mlflow.runColor": self._colour(result.variant),
            "mlflow.source.git.commit": p.commit,
            "dvc.stage": p.dvc_stage,
            "dirty": p.dirty,
            "device": str(p.machine.get("device")),
            "hash.weights": run.hashes.weights,
            "hash.losses": run.hashes.losses,
            "hash.data": run.hashes.data,
            "hash.code": run.hashes.code,
            "mlflow.parentRunId": mean,
        }
        return self._once(
            f"{tags['variant']}/s{result.seed}",
            {"role": "train", "cell": result.key, "record": identity},
            {key: value for key, value in tags.items() if value is not None},
            (p.started, run.history[-1]["time"] if run.history else p.started),
            lambda run_id: self._log(run_id, result, run),
            "FAILED" if result.status == "diverged" else "FINISHED",
        )

    def _colour(self, variant: str) -> str:
        variants = list(self.study.variants)
        place = variants.index(variant) if variant in variants else len(COLOURS) - 1
        return COLOURS[place % len(COLOURS)]

    def _variant(self, result: Result, run: Run) -> str:
        """The variant's name; a candidate's says what it changes, so that two of them are not taken for one."""
        if result.variant != CANDIDATE:
            return result.variant
        base, own = self.study.variants[self.study.baseline].model_dump(), recorded(run.settings)
        changed = [f"{key}={own[key]}" for key in base if own[key] != base[key]]
        return " ".join([CANDIDATE, *changed])[:250]

    def _log(self, run_id: str, result: Result, run: Run) -> None:
        e = self.entities
        last = run.history[-1] if run.history else {"epoch": 0, "time": run.provenance.started}
        moment, step, diverged = round(1000 * last["time"]), int(last["epoch"]), result.status == "diverged"
        # The compared error first: MLflow's comparison opens on the metric that was logged first.
        order = sorted(run.metrics.items(), key=lambda item: item[0] != self.study.file.metric)
        totals = [*order, ("diverged", float(diverged)), ("wall_seconds", run.provenance.wall_seconds)]
        metrics = [e.Metric(name, value, moment, step) for name, value in totals]
        metrics += [
            e.Metric(name, row[column], round(1000 * row["time"]), int(row["epoch"]))
            for row in run.history
            for column, name in EPOCH.items()
            if math.isfinite(row[column])  # MLflow shows no metric that was once not finite; `diverged` says it
        ]
        settings = {"variant": self._variant(result, run), "seed": result.seed, **recorded(run.settings)}
        params = [e.Param(name, str(value)) for name, value in settings.items()]
        # Two calls: of one call's metrics MLflow keeps no order.
        self.mlflow.log_batch(run_id, metrics=metrics[:1], params=params)
        self.mlflow.log_batch(run_id, metrics=metrics[1:])
        # MLflow takes 36 characters of a digest.
        source = json.dumps({"path": self.study.manifest.as_posix()})
        images = e.Dataset(name=run.images.name, digest=run.images.hash[:36], source_type="dvc", source=source)
        self.mlflow.log_inputs(run_id, [e.DatasetInput(images, [e.InputTag("mlflow.data.context", "train")])])


def _numbers(row: VariantRow) -> dict[str, float]:
    """A mean's metrics, where there are such numbers: errors in percent, the difference and its limits in points.

    Rounded for MLflow's table, which shows every digit.
    """
    d, c = row.difference, row.comparison
    values = {
        row.metric: row.error.mean, f"{row.metric}_sd": row.error.sd, "n": row.finished,
        "difference": d.mean, "limit_lower": d.low, "limit_upper": d.high,
        "se": c.se if c else None, "adjusted_p": c.adjusted if c else None,
    }  # fmt: skip
    return {name: float(f"{value:.5g}") for name, value in values.items() if value is not None}


def note(study: Study, rows: list[VariantRow], summary: str) -> str:
    """The description of a study's run, in Markdown: its summary, its purpose, and the variants in a table."""
    # MLflow takes 8,000 characters of a tag.
    table = rendered("note.md.j2", purpose=study.file.purpose[:1000], rows=rows, most=40).rstrip("\n")
    return f"{summary}\n\n{table}"


def user() -> str:
    """Who publishes; in a container a user may have a number alone."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
