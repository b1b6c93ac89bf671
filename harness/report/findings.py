"""All that a report tells, computed once: its text and its tables are made from this and from nothing else."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from harness.claims.ledger import ClaimRow
from harness.data.notes import REPEATED, claim
from harness.data.packed import Manifest, read_manifest
from harness.files import hash_file
from harness.net.layout import layout
from harness.record import Images
from harness.report import circumstances, claims, effects, evidence, isolation, variants
from harness.report.candidate import Candidate, candidate_row
from harness.report.format import paragraph, paragraphs, plain
from harness.report.runs import Results, Standing, rerun, standing
from harness.settings import declared
from harness.settings.schema import Settings
from harness.settings.study import Study, top_of
from harness.statistics.comparison import Comparison
from harness.statistics.images import ImageEvidence
from harness.statistics.judging import PROMISED
from harness.statistics.models import residuals_of

SCALES_DIFFER = 0.01
"""p of Bartlett's test at which arms are said to scatter differently: a hint, so that it is to be seldom false."""

LEAST_ARMS = 5
"""Seeds and arms from which on it is asked whether the arms' scales differ: fewer cannot say."""

MANY = 0.01
"""Part of the images from which on repeated ones are a warning: a point of error, which is what margins are about."""


@dataclass(frozen=True)
class Findings:
    """What the results of a study come to. Each part raises `UserError` for a result that is broken.

    `settings`: the candidate's settings and seed, where one is declared. `root`: below it lies everything that is read.
    """

    study: Study
    results: Results
    settings: tuple[Settings, int] | None
    root: Path

    @cached_property
    def own_metrics(self) -> list[tuple[str, str, str]]:
        """The study's own metrics: name, file and its SHA-256, short."""
        return [(name, file, hash_file(self.root / file)[:12]) for name, file in self.study.file.metrics.items()]

    # ---- the comparison

    @cached_property
    def standing(self) -> Standing:
        return standing(self.study, self.results)

    @cached_property
    def rows(self) -> list[variants.VariantRow]:
        return variants.variant_rows(self.study, self.results)

    @property
    def comparisons(self) -> dict[str, Comparison]:
        return {row.variant: row.comparison for row in self.rows if row.comparison}

    @property
    def base(self) -> variants.VariantRow:
        return next(row for row in self.rows if row.is_baseline)

    @property
    def family(self) -> list[Comparison]:
        return [comparison for comparison in self.comparisons.values() if comparison.in_family]

    @cached_property
    def components(self) -> list[variants.Effect]:
        """What having each component does, largest first."""
        return variants.effects_of(self.rows)

    @cached_property
    def by_source(self) -> bool:
        """Whether variants differ in what follows the seed alone: then their spread is asked for, not their means."""
        return len(self.rows) > 1 and all(row.changes.keys() == {"vary"} for row in self.rows if not row.is_baseline)

    @cached_property
    def pooled_alone(self) -> list[tuple[str, Comparison]]:
        """Variants whose verdict rests on the pooled variance, each with its own paired t, which has another."""
        if self.study.file.test != "block" or not self.standing.judged:
            return []
        study = replace(self.study, file=self.study.file.model_copy(update={"test": "paired_t"}))
        alone = variants.comparisons(study, self.results)
        pairs = self.comparisons.items()
        return [(name, alone[name]) for name, c in pairs if c.in_family and c.verdict != alone[name].verdict]

    @property
    def scales(self) -> dict[str, float]:
        """The sds of the arms' residuals, and p, where they differ by Bartlett's test; else nothing."""
        errors = variants.compared_errors(self.study, self.results, self.standing)
        seeds = sorted(set.intersection(*(set(arm) for arm in errors.values())))
        table = np.array([[arm[seed] for arm in errors.values()] for seed in seeds])
        if self.study.file.test != "block" or min(len(errors), len(seeds)) < LEAST_ARMS or not np.isfinite(table).all():
            return {}
        residuals = residuals_of(table)
        p = float(stats.bartlett(*residuals.T).pvalue) if (residuals.std(0) > 0).all() else 0.0
        sds = residuals.std(0, ddof=1)
        return {} if p > SCALES_DIFFER else {"p": p, "least": float(sds.min()), "most": float(sds.max())}

    @cached_property
    def chance(self) -> dict[str, Any]:
        """What guessing at random comes to; nothing before any run is there.

        `error`: of guessing `top` of `classes`, in percent; `lost`: the rows that are no better.
        """
        runs = [cell.run for cell in self.results.cells if cell.run and cell.status != "stale"]
        if not runs:
            return {}
        classes = min(run.images.classes for run in runs)
        error = 100 * (1 - self.top / classes)
        means = [(row, row.error.mean) for row in self.rows]
        lost = [row for row, mean in means if mean is not None and mean > error - 3 * (row.floor or 0)]
        return {"classes": classes, "error": error, "lost": lost}

    @property
    def top(self) -> int:
        return top_of(self.study.file.metric)

    @property
    def confidence(self) -> str:
        """`95 %`: of the intervals."""
        return _percent(1 - self.study.file.confidence)

    @property
    def row_confidence(self) -> str:
        """The same of the comparisons' intervals, which a look at it makes longer."""
        alphas = [comparison.alpha for comparison in self.comparisons.values()]
        return _percent(alphas[0]) if alphas else self.confidence

    # ---- what stands beside it

    @cached_property
    def candidate(self) -> Candidate | None:
        return candidate_row(self.study, self.settings, self.results)

    @property
    def shown(self) -> Candidate | None:
        """The candidate, where it has a row: a study without one of its own has no empty row for it."""
        return self.candidate if self.candidate and self.candidate.result.status != "missing" else None

    @cached_property
    def evidence(self) -> dict[str, ImageEvidence | None]:
        return evidence.evidence_rows(self.study, self.results)

    @cached_property
    def effects(self) -> effects.Effects:
        """What stands beside the compared error: ranks, gaps, times, designs."""
        return effects.effects_of(self.study, self.results, self.standing)

    @cached_property
    def claims(self) -> list[ClaimRow]:
        """The paper's claims; they are judged when the study is done."""
        if self.standing.interim:
            return []
        return claims.ledger_rows(self.study, self.results, self.root, self.comparisons)

    @cached_property
    def claim_counts(self) -> list[str]:
        """How many of the claims that the paper states have each verdict."""
        return claims.counts([row for row in self.claims if row.claim.stated])

    @cached_property
    def other_counts(self) -> list[str]:
        """Verdicts on what its authors' run and later work add, those that this study gives."""
        others = [row for row in self.claims if not row.claim.stated and row.verdict != "not testable here"]
        return [count for count in claims.counts(others) if not count.startswith("0 ")]

    # ---- how the runs were made

    @cached_property
    def proofs(self) -> list[isolation.IsolationCheck]:
        return isolation.proofs(self.study, self.results)

    @property
    def failing(self) -> list[isolation.IsolationCheck]:
        return [proof for proof in self.proofs if proof.verdict == "fails"]

    def verified(self, variant: str) -> str:
        return isolation.verified_text(self.study, self.results.of(variant), self.root)

    @cached_property
    def conditions(self) -> list[circumstances.Condition]:
        return circumstances.conditions(self.results)

    @property
    def mixed(self) -> list[circumstances.Condition]:
        return [condition for condition in self.conditions if condition.matters and condition.mixed]

    @cached_property
    def declarations(self) -> list[declared.Entry]:
        return declared.read(self.study, self.root)

    @property
    def declaration(self) -> str:
        return circumstances.declaration_text(self.study, self.results, self.declarations, self.standing)

    @cached_property
    def images(self) -> list[Images]:
        """The sets of images that runs saw, the first first."""
        runs = [cell.ended for cell in self.results.cells if cell.ended]
        return list({run.images.hash: run.images for run in runs}.values())

    @cached_property
    def manifest(self) -> Manifest | None:
        """The study's manifest of images, where it is of those that runs saw."""
        path = self.root / self.study.manifest
        manifest = read_manifest(path) if path.exists() else None
        return manifest if manifest and manifest.hash in {images.hash for images in self.images} else None

    @property
    def repeated(self) -> list[str]:
        """What is said of images that are there twice and should not be, where they are many."""
        notes, counts = (self.manifest.notes, self.manifest.counts) if self.manifest else ({}, {})
        whole = {kind: counts.get(kind.partition("_")[0], sum(counts.values())) for kind in REPEATED if kind in notes}
        return [claim(kind, notes[kind]) for kind, of in whole.items() if notes[kind].count >= MANY * of]

    @property
    def images_name(self) -> str:
        """The source of the images; of a folder its name."""
        data = self.study.data
        return Path(data.root).name if data.source in ("folder", "python") and data.root else data.source

    @property
    def which_images(self) -> str:
        """`fashion-mnist-8k (3,500 training, ...)`."""
        words = {"train": "training", "validation": "validation", "test": "test images"}
        counts = self.images[0].counts if self.images else {}
        parts = [f"{counts[part]:,} {word}" for part, word in words.items() if part in counts]
        return f"{plain(self.images_name)} ({', '.join(parts)})"

    @property
    def again(self) -> str:
        """The command that runs a component again: the first variant of one setting."""
        single = [row.variant for row in self.rows if not row.is_baseline and len(row.changes) == 1]
        return rerun(self.study, list(dict.fromkeys([*single[:1], self.study.baseline])))

    # ---- in words

    @cached_property
    def scale(self) -> str:
        """The baseline's net, images and epochs beside the paper's; empty where they are the paper's."""
        base, paper = self.study.variants[self.study.baseline], Settings()
        imagenet = self.study.data.source == "imagenet" or self.study.data.release
        if imagenet and _net(base) == _net(paper) and base.epochs >= paper.epochs:
            return ""
        return paragraph("scale", base=base, paper=paper, net=_net, images=self.which_images)

    @cached_property
    def answer(self) -> str:
        """The study's answer: one sentence of Markdown."""
        single = [effect for effect in self.components if effect.settings == 1] or self.components
        groups = {word: [e for e in single if e.verdict == word] for word in variants.WORDS.values()}
        return paragraph("sentence", findings=self, study=self.study, groups=groups, images=plain(self.images_name))

    @cached_property
    def warnings(self) -> list[str]:
        """What to keep in mind of the study, gravest first: sentences of Markdown."""
        return paragraphs(
            "warnings",
            findings=self,
            pooled_alone=[e for e in self.components if e.row.variant in dict(self.pooled_alone)],
            unfinished=[
                cell
                for cell in self.results.cells
                if cell.status != "finished" and any(row.finished for row in self.rows)
            ],
            several=[effect for effect in self.components if effect.settings > 1],
            seeds=min((effect.seeds for effect in self.components if effect.verdict), default=PROMISED),
            promised=PROMISED,
            late=circumstances.late_declaration(self.results, self.declarations),
        )


def _net(settings: Settings) -> str:
    """`crops of 224 pixels, 96-256-384-384-256 kernels and 4096-4096 units`."""
    rows = layout(settings)
    kernels = "-".join(str(row.outputs) for row in rows if row.kind != "fc")
    hidden = "-".join(str(row.outputs) for row in rows[:-1] if row.kind == "fc")
    units = f" and {hidden} fully connected units" if hidden else ""
    return f"crops of {settings.crop} pixels, {kernels} kernels{units}"


def _percent(alpha: float) -> str:
    places = max(2, 1 - math.floor(math.log10(100 * alpha)))
    return f"{100 * (1 - alpha):.{places}f}".rstrip("0").rstrip(".") + " %"
