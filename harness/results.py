"""A study's results in Python: tidy pandas frames, and the report's table and figure.

    from harness import load_study

    study = load_study("components")
    study.comparisons[["component", "difference", "low", "high", "verdict"]]

Everything is computed from the records of the runs, by the functions that make the report. The frames hold declared
runs; the candidate of params.yaml is in none. Before every run has ended there are verdicts at declared interim
analyses alone.
"""

import base64
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
from markdown_it import MarkdownIt

from harness.errors import UserError
from harness.files import write_bytes
from harness.grammar import counted
from harness.predictions import read_predictions
from harness.record import HISTORY
from harness.report import claims, figures, paper, runs, variants
from harness.report.findings import Findings
from harness.report.format import METRICS, rendered
from harness.settings import load
from harness.settings.study import Study
from harness.style import style

Kind = Literal["latex", "csv", "pdf", "png"]
"""What a study is exported as."""


def load_study(name: str | Path, root: str | Path = ".") -> "StudyResults":
    """The results of a study. `name`: its name, folder, file or report; `root`: the repository.

    Raises `UserError`, one line, where there is no such study, or its file or the record of a run is broken.
    """
    root = Path(root).resolve()  # frames are read when they are asked for, perhaps from another folder
    return results_of(load.load_study(load.find_study(Path(name), root)), root)


def results_of(study: Study, root: Path) -> "StudyResults":
    """The results of a study that was read already. Raises `UserError`."""
    found = runs.unless_done(study, runs.read_results(study, None, root))
    return StudyResults(Findings(study, found, None, root))


@dataclass(frozen=True, repr=False)
class StudyResults:
    """A study's results. Errors are in percent, differences and effects in points (percentage points of error).

    Each frame is computed when it is first asked for, and kept. A record that is broken raises `UserError` then.
    """

    findings: Findings

    @property
    def study(self) -> Study:
        """What was declared: variants with their settings, seeds, baseline, metric, margin."""
        return self.findings.study

    @property
    def name(self) -> str:
        return self.study.name

    @property
    def class_names(self) -> list[str]:
        """The classes by their number, as `predictions` has them; empty before a run has ended."""
        return self.findings.images[0].class_names if self.findings.images else []

    # ---- frames

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a declared run, in the order of the study; what its records say.

        Columns:
            variant, seed: the run.
            status: finished, diverged, missing, or stale (of other settings, images or code than are declared now).
            note: why a run that is not finished does not count; else empty.
            test_top1, test_top1_10crop: test error of the centre crop and of the mean of ten crops, %.
            test_top5, test_top5_10crop: the same, top-5.
            train_top1, train_top5, validation_top1, validation_top5: error in evaluation mode, centre crop, %.
            test_loss: mean cross-entropy of the test part, nats.
            diverged_epoch: epoch in which the loss was no longer finite.
            wall_seconds: training time, s.
            parameters: of the net.
            fingerprint: SHA-256 of settings, seed, images and numerics identity: what the run is.
            commit, dirty: git commit of the code, and the hash of changes which that commit does not hold.
            code: numerics identity of the training code.
            data, batch_order, augmentation: SHA-256 of images, batch order and crops that went in.
            losses, weights: SHA-256 of the losses of all steps and of the final weights.
            device, device_name, threads, cpu, instructions, os: the machine.
            python, torch, numpy, cuda, cudnn: versions.
            packages: SHA-256 of the list of installed packages.
            command: what trained it.

        Every further number of metrics.json follows under its own name, as test_top1_mc_geometric.
        """
        results = self.findings.results
        rows = [
            row | dict(cell.run.metrics if cell.run else {})
            for row, cell in zip(runs.cells_csv(self.findings.study, results), results.all, strict=True)
        ]
        return _frame(rows, [*runs.CELL_COLUMNS, *dict.fromkeys(key for row in rows for key in row)])

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch of every run that finished or diverged.

        Columns:
            variant, seed: the run.
            epoch: from 1.
            lr: learning rate at the end of the epoch.
            train_loss, train_top1: mean loss (nats) and error (%) of the epoch's batches, in training mode.
            validation_loss, validation_top1: loss (nats) and error (%) of the validation part after it.
            clean_loss, clean_top1: of training images in evaluation mode; NaN where a run did not measure them.
            seconds: what the epoch took, s.
            time: its end, UNIX time, s.
        """
        ended = self.findings.results.ended
        rows = [{"variant": c.variant, "seed": c.seed} | epoch for c, run in ended for epoch in run.history]
        return _frame(rows, ["variant", "seed", *HISTORY])

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """A row a test image of every finished run, answered from the centre crop.

        Columns:
            variant, seed: the run.
            image: place in the test part, from 0.
            label: its class, as a place in `class_names`.
            predicted: the most probable class.
            top2, top3, top4, top5: the next ones, as far as there are so many classes.
            p1, p_label: probability of the first and of the right class, to a thousandth.
            correct: whether the first is right.
        """
        named = {"index": "image", "top1": "predicted"}
        frames = [
            read_predictions(run.folder.predictions).to_pandas().rename(columns=named).assign(variant=name, seed=seed)
            for name in self.study.variants
            for seed, run in self.findings.results.finished(name).items()
        ]
        frame = (
            pd.concat(frames, ignore_index=True) if frames else _frame([], ["image", "label", "predicted", "correct"])
        )
        first = ["variant", "seed"]
        return frame.reindex(columns=[*first, *frame.columns.drop(first, errors="ignore")])

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row a variant against the baseline, in the order of the study: the numbers of the report's variants.csv.

        Columns:
            variant: its name.
            component: what the variant takes out of the baseline or, if `added`, puts in; the report speaks of it.
            added: whether it does. The effect of having a component is `difference` or, if added, minus that.
            changes: settings in which it differs, as `lrn: true -> false`.
            declared, finished, diverged, missing, stale: runs.
            metric: the error that is compared, a column of `runs`.
            mean, sd: of that error over the finished runs, % (sd with ddof 1).
            pairs, seeds: complete pairs with the baseline, and their seeds.
            difference: mean of variant minus baseline over the pairs, points; positive: the variant makes more errors.
            low, high, confidence: interval of the difference, points, and its confidence, for this comparison alone.
            test: block or paired_t.
            p, adjusted_p: two-sided, of the comparison alone and adjusted over the family.
            margin, adjusted_p_equivalent: declared margin, points, and the p of equivalence within it, adjusted.
            verdict: on what the variant changes: helps, hurts, equivalent or inconclusive; none outside the family.
            alpha: what adjusted p are held against.
            look, interim: number of the interim analysis, and whether the study is not done.
            detectable: difference that is found in 80 % of such studies, points.
            se, df: standard error of the difference, points, and its degrees of freedom.
            pooled: whether the standard error is shared by several variants.
            standardised: difference over the sd of the paired differences.
            correlation: of the paired errors.
            unpaired_runs: runs per variant that an unpaired comparison would need.
            diverged_pairs: pairs with a diverged run.
            sign_flip_p, sign_flip_least_p, sign_flip_adjusted_p: of the sign-flip test, and its least p.
            paper_difference, paper_where: the paper's difference, points, and its place there.
            parameters: of the net.
            wall_seconds: mean training time, s.
            test_top1, test_top1_10crop, test_top5, test_top5_10crop: mean errors, %.
            train_top1, train_top5, validation_top1, validation_top5: the same of the other parts, %.
            gap: test minus training error, points.
        """
        rows = variants.variants_csv(self.findings.rows, None, self.findings.standing)
        frame = _frame([row for row in rows if row["variant"] != self.study.baseline], variants.VARIANT_COLUMNS)
        frame[["pooled", "interim"]] = frame[["pooled", "interim"]] == "true"
        components = {effect.row.variant: effect.component for effect in self.findings.components}
        frame.insert(1, "component", [components[name].label for name in frame["variant"]])
        frame.insert(2, "added", [components[name].added for name in frame["variant"]])
        return frame

    @cached_property
    def claims(self) -> pd.DataFrame:
        """A row a claim of the paper, of the file that the study names: the numbers of ledger.csv.

        None before the study is done, and where it names no file of claims.

        Columns:
            claim, section, statement: its key, its section in the paper, and what it says.
            published: the paper's numbers, as text.
            ours, low, high: our number with its interval, of the part of the claim that speaks least for it.
            unit: of ours: points, %, times, epochs, ...; empty for a plain number.
            n: pairs or runs behind it.
            verdict: replicates, contradicts, inconclusive or not testable here.
            reason: why, and what to keep in mind.
            command: what makes the runs again.
        """
        rows = claims.ledger_csv(self.findings.claims)
        units = [row.weakest.unit if row.weakest else None for row in self.findings.claims]
        columns = [name for key in claims.LEDGER_COLUMNS for name in ((key, "unit") if key == "high" else (key,))]
        return _frame([row | {"unit": unit} for row, unit in zip(rows, units, strict=True)], columns)

    # ---- as the report shows it

    def table(self) -> pd.DataFrame:
        """The report's table as text: a row a component, largest effect first, rounded as its interval supports.

        Columns: component, variant, effect (of having it, points; positive: fewer errors), its interval, adjusted p,
        verdict, the paper (its effect, points), seeds. Those without any content are left out.
        """
        return paper.table(self.findings)

    def forest(self, column: bool = False) -> figures.Picture:
        """The report's forest figure, a matplotlib `Figure`. `column`: 3.25 inches wide, for a column of a paper."""
        rules = self.study.file
        with style():
            effects, metric = self.findings.components, METRICS[rules.metric]
            figure = figures.effects_figure(effects, rules.margin, metric, column)
            figure.draw_without_rendering()  # else its ticks would be made later, in another style
        return figure

    def caption(self) -> str:
        """What the table shows, n, intervals, test and adjustment: Markdown on one line."""
        return paper.caption(self.findings)

    def __repr__(self) -> str:
        ended = len(self.findings.results.ended)
        return f"<StudyResults {self.name}: {ended} of {counted(len(self.study.cells), 'run')} ended>"

    def _repr_html_(self) -> str:
        """Question, answer, table, forest figure and warnings, as on the report's first page."""
        f = self.findings
        values = {"findings": f, "study": self.study, "base": f.base, "folder": "", "most": len(f.rows)}
        lines = [rendered("sections/answer.md.j2", **values), *(f"> **Warning.** {line}\n" for line in f.warnings)]
        text = MarkdownIt("commonmark", {"html": False}).enable("table").render("\n".join(lines))
        if f.by_source or not f.components:
            return str(text)
        image = base64.b64encode(self.forest()._repr_svg_().encode()).decode()
        return f'{text}<img alt="Effects with their intervals" src="data:image/svg+xml;base64,{image}">'

    # ---- files

    def export(self, out: str | Path, kinds: Collection[Kind] = get_args(Kind)) -> list[Path]:
        """Write table, forest figure, caption and references for a paper into the folder `out`; the files' paths.

        latex: NAME-table.tex, NAME-figure.tex, references.bib; csv: the frame `comparisons`; pdf, png: the figure at a
        column's width. A study of sources of randomness has no figure: its means say nothing. Raises `UserError` for
        one without a result, and where nothing is left to write.
        """
        f, name = self.findings, self.name
        if not (f.base.finished if f.by_source else any(effect.seeds for effect in f.components)):
            raise UserError(
                f"export: {self.study.path}: no variant and the baseline have a finished run of the same seed; "
                f"run: harness run {name}"
            )
        files: dict[str, str | bytes] = {}
        if "latex" in kinds:
            files |= {f"{name}-table.tex": paper.table_tex(f), "references.bib": paper.references(f)}
        if "csv" in kinds:
            files[f"{name}-comparisons.csv"] = self.comparisons.to_csv(index=False, lineterminator="\n")
        if not f.by_source:
            if "latex" in kinds:
                files[f"{name}-figure.tex"] = paper.figure_tex(f, f"{name}-forest")
            margin, metric = self.study.file.margin, METRICS[self.study.file.metric]
            for kind in ("pdf", "png"):
                if kind in kinds:
                    files[f"{name}-forest.{kind}"] = figures.forest(f.components, margin, metric, kind)
        if not files:
            raise UserError(
                f"export: {self.study.path}: got {' and '.join(kinds)}; allowed without a figure: latex, csv"
            )
        for file, content in files.items():
            write_bytes(Path(out) / file, content if isinstance(content, bytes) else content.encode())
        return [Path(out) / file for file in files]


def _frame(rows: Sequence[Mapping[str, object]], columns: Iterable[str]) -> pd.DataFrame:
    """A frame with these columns; what is missing is NaN, also where a whole column is."""
    frame = pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))
    return frame.astype({name: float for name in frame if len(frame) and frame[name].isna().all()})
