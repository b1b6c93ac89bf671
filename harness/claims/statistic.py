"""The statistics that test claims: each with its parameters, as a file declares it, and its numbers on runs."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness import record
from harness.claims import estimate
from harness.claims.estimate import NotMeasuredError, Runs, by_seed, difference, mean, metric, paired
from harness.claims.finding import ArithmeticTest, Directed, Evidence, Finding, Pairwise, Test, Variant, listed
from harness.claims.verdict import Estimate, Region, Ruling, Verdict, every_run, judge, signed
from harness.grammar import counted

Metric = Literal[
    "test_top1", "test_top1_10crop", "test_top5", "test_top5_10crop", "train_top1", "train_top5", "validation_top1",
    "test_top1_mc_geometric", "test_top1_mc_arithmetic", "fc7_precision6", "pixels_precision6", "gap", "wall_days",
]  # fmt: skip
Curve = Literal["train_loss", "train_top1", "validation_loss", "validation_top1", "clean_loss", "clean_top1"]

UNITS = {"fc7_precision6": "of 1", "pixels_precision6": "of 1", "wall_days": "days"}
"""Units of metrics that are not errors."""

RESAMPLES = 10_000
"""Bootstrap resamples of the seeds."""

ALPHA = 0.05
"""Level of the permutation test of one run."""


WORST: tuple[Verdict, ...] = ("contradicts", "inconclusive", "replicates")
"""Of two verdicts on parts of one claim, the one that stands first holds."""


class DifferenceTest(Pairwise):
    """Mean paired difference of a metric, variant less `against`, each variant by itself."""

    metric: Metric | None = Field(None, description="by default the study's")
    fitted: float = Field(
        0.5, gt=0, le=1, description="overfitting begins where training error is at most this part of test error"
    )
    also: list[Metric] = Field([], description="metrics that must differ in the same direction, by any amount")
    beside: list[Variant] = Field([], description="variants whose differences stand beside, where the study has them")

    @property
    def parts(self) -> int:
        return len(self.variants) * (1 + len(self.also))

    def measure(self, evidence: Evidence) -> Finding:
        finding = super().measure(evidence)
        if self.also:
            finding = self._with_others(finding, evidence)
        if finding.verdict == "inconclusive":
            return finding
        # What a verdict does not say: the table of variants, where a row is one of many, may leave the same open.
        rows = evidence.same_comparisons(self.metric or evidence.study.file.metric, self.against)
        notes = [
            f"That is {name} by itself; as one of {counted(row.comparisons, 'comparison')} it is inconclusive "
            f"(adjusted p {row.adjusted:.2g})"
            for name in self.variants
            if (row := rows.get(name)) and row.adjusted is not None and row.verdict == "inconclusive"
        ]
        return replace(finding, notes=(*notes, *finding.notes))

    def _with_others(self, finding: Finding, evidence: Evidence) -> Finding:
        """The verdict, where other metrics must differ, too: the worse one of both rulings."""
        confidence = 1 - (1 - evidence.confidence) / self.parts
        others = [
            replace(evidence.difference(name, self.against, error, confidence), name=f"{error} of {name}")
            for name in self.variants
            for error in self.also
        ]
        region = Region(high=0.0) if self.direction == "less" else Region(low=0.0)
        verdict, reason = judge(others, region)
        notes = (*listed(others, "It must differ, too"), *finding.notes)
        if WORST.index(verdict) < WORST.index(finding.verdict):
            reason = f"{reason}, in {' and '.join(self.also)}"
            return replace(finding, verdict=verdict, reason=reason, notes=notes)
        return replace(finding, notes=notes)

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        def each(names: list[str], error: str) -> list[Estimate]:
            return [evidence.difference(name, self.against, error, confidence) for name in names]

        error = self.metric or evidence.study.file.metric
        notes: list[str] = []
        if error == "gap" and "test_top1" not in self.also:
            # A wider gap is no harm by itself: what the test error does stands beside it.
            errors = each(self.variants, "test_top1")
            notes += listed([replace(e, name=f"test error of {e.name} less {self.against}") for e in errors])
        beside = each([name for name in self.beside if evidence.runs.get(name)], error)
        return each(self.variants, error), notes + listed(beside)


class SameRunTest(Directed):
    """Mean difference of two metrics of the same runs, the first less the second: nothing is trained for it."""

    metrics: Annotated[list[Metric], Field(min_length=2, max_length=2)] = Field(description="the two metrics")
    beside: list[Metric] = Field([], description="metrics whose difference to the second stands beside")

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        first, second = self.metrics

        def less(one: str, name: str, runs: Runs) -> Estimate:
            unit = UNITS.get(one, "points")
            return difference(name, by_seed(runs, one), by_seed(runs, second), confidence, unit)

        runs = {name: evidence.runs[name] for name in self.variants}
        parts = [less(first, name, runs[name]) for name in runs]
        return parts, listed([less(one, f"{one} less {second} of {v}", runs[v]) for v in runs for one in self.beside])


class LevelTest(Directed):
    """Mean of a metric over the seeds."""

    metric: Metric = Field(description="the metric")

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        values = {name: by_seed(evidence.runs[name], self.metric) for name in self.variants}
        unit = UNITS.get(self.metric, "%")
        return [difference(n, v, dict.fromkeys(v, 0.0), confidence, unit) for n, v in values.items()], []


class EnsembleTest(Directed):
    """Error of the seeds' averaged predictions less that of each net of the first variant in turn: this ensemble,
    against a net of its kind.
    """

    metric: Literal["test_top1", "test_top1_10crop"] = Field("test_top1", description="the error")

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        name = "+".join(self.variants)
        ensemble = evidence.ensembles.get(name)
        if ensemble is None:
            raise NotMeasuredError(f"no ensemble of {name} was evaluated")
        runs = {f"{v}-{seed}": run for v in self.variants for seed, run in evidence.runs[v].items()}
        if ensemble.made_of.get("weights") != {key: run.hashes.weights for key, run in runs.items()}:
            raise NotMeasuredError(f"the ensemble of {name} is of other weights than the runs; run: harness ensemble")
        members = by_seed(evidence.runs[self.variants[0]], self.metric)
        error = ensemble.test_top1 if self.metric == "test_top1" else ensemble.test_top1_10crop
        return [difference("ensemble", dict.fromkeys(members, error), members, evidence.confidence)], []


class LevelRatioTest(Pairwise):
    """Ratio of the epochs until a curve first reaches each level, variant over `against`, by seed on a log scale."""

    ratio: ClassVar[bool] = True
    curve: Curve = Field(description="column of the history")
    levels: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = Field(
        description="the levels, in the curve's unit: the ratio must be as claimed at each"
    )
    grid: dict[Variant, Annotated[list[Variant], Field(min_length=2)]] = Field(
        {}, description="arm -> variants, of which the one with the least validation error stands for it"
    )

    @property
    def names(self) -> list[str]:
        """Every variant that it cannot do without: of an arm, all those that it is chosen from."""
        return [name for arm in super().names for name in self.grid.get(arm, [arm])]

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        notes: list[str] = []
        arms = {arm: self.choose(arm, evidence.runs, notes) for arm in [*self.variants, self.against]}
        against, parts = arms[self.against], []
        for level in self.levels:
            reached = [f"{arm} gets there {self._when(runs, level)}" for arm, runs in arms.items()]
            notes.append(f"{self.curve} of {level:g}: {'; '.join(reached)}")
            at = f" at {level:g}" if len(self.levels) > 1 else ""
            parts += [
                estimate.level_ratio(v + at, arms[v], against, self.curve, level, confidence) for v in self.variants
            ]
        return parts, notes

    @property
    def parts(self) -> int:
        return len(self.variants) * len(self.levels)

    def _when(self, runs: Runs, level: float) -> str:
        crossings = [estimate.crossing(run.history, self.curve, level) for run in runs.values()]
        epochs = [each.epochs for each in crossings if not each.censored]
        never = len(crossings) - len(epochs)
        when = f"after {mean(epochs):.1f} epochs on average" if epochs else "never"
        return when + (f", never in {never} of {len(crossings)} runs" if never else "")

    def choose(self, arm: str, runs: Mapping[str, Runs], notes: list[str]) -> Runs:
        """An arm's runs: where it has a grid, those of the least mean validation error, with a note on the cost."""
        if arm not in self.grid:
            return runs[arm]
        errors = {name: mean(list(by_seed(runs[name], "validation_top1").values())) for name in self.grid[arm]}
        best = min(errors, key=lambda name: errors[name])
        trained = [run for name in errors for run in runs[name].values()]
        hours = sum(run.provenance.wall_seconds for run in trained) / 3600
        notes.append(
            f"{arm} is {best}, least validation error ({errors[best]:.1f} %) of {len(errors)}: "
            f"{counted(len(trained), 'run')}, {hours:.1f} h of training"
        )
        return runs[best]


class EarlyLossTest(Pairwise):
    """Mean paired difference of the mean training loss of the first epochs."""

    epochs: int = Field(5, ge=1, description="how many first epochs")

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        runs, against = evidence.runs, evidence.runs[self.against]
        return [
            paired(name, runs[name], against, lambda run: estimate.early_loss(run, self.epochs), confidence, "nats")
            for name in self.variants
        ], []


class TimeRatioTest(Pairwise):
    """Ratio of wall times, variant over `against`, by seed on a log scale: without an interval or a verdict.

    Load is not the seed's, and the runs of a study stand beside other work.
    """

    ratio: ClassVar[bool] = True

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        parts = []
        for name in self.variants:
            one, other = evidence.runs[name], evidence.runs[self.against]
            seeds = record.paired(one, other)
            seconds = [[runs[s].provenance.wall_seconds for s in seeds] for runs in (one, other)]
            parts.append(replace(estimate.ratio(name, seconds[0], seconds[1], confidence), low=None, high=None))
        return parts, []

    def judge(self, parts: list[Estimate]) -> Ruling:
        return "inconclusive", "what else a machine does is not drawn anew with the seed, hence no interval of times"


class DropsTest(Directed):
    """How often the rate fell in a run, and when."""

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        parts, notes = [], []
        for name in self.variants:
            histories = [run.history for run in evidence.runs[name].values()]
            drops = [[int(b["epoch"]) for a, b in pairwise(h) if b["lr"] < a["lr"] * (1 - 1e-9)] for h in histories]
            counts = [len(epochs) for epochs in drops]
            parts.append(Estimate(name, mean(counts), min(counts), max(counts), len(counts), "drops"))
            notes.append(f"{name} at epochs {'; '.join(map(str, drops))}")
        return parts, notes


class RankingTest(Test):
    """Whether the differences to `against` fall in the order of `variants`; its share of resamples of the seeds."""

    against: Variant = Field(description="the variant that they are compared with")
    variants: Annotated[list[Variant], Field(min_length=2)] = Field(description="the claimed order, largest first")

    def measure(self, evidence: Evidence) -> Finding:
        import numpy as np
        from scipy import stats

        error, against = evidence.study.file.metric, evidence.runs[self.against]
        order = [evidence.runs[name] for name in self.variants]
        seeds = sorted(set.intersection(*(set(record.paired(runs, against)) for runs in order)))
        if not seeds:
            raise NotMeasuredError("no seed has a finished run of every variant")
        values = np.array([[metric(runs[s], error) - metric(against[s], error) for s in seeds] for runs in order])
        # Seeds are resampled the same for every variant, since runs of one seed share what the seed does.
        drawn = np.random.default_rng(0).integers(len(seeds), size=(RESAMPLES, len(seeds)))
        holds = (np.diff(values[:, drawn].mean(axis=2), axis=0) < 0).all(axis=0)
        tau = float(stats.kendalltau(-np.arange(len(order)), values.mean(axis=1)).statistic)
        # How often an order holds in resamples is no test: of four equal arms a given one holds in a 24th of them.
        confidence = 1 - (1 - evidence.confidence) / (len(order) - 1)
        steps = [
            paired(f"{one} less {other}", evidence.runs[one], evidence.runs[other], lambda run: metric(run, error),
                   confidence)
            for one, other in pairwise(self.variants)
        ]  # fmt: skip
        share = Estimate("order", float(holds.mean()), None, None, len(seeds), "of the resamples")
        resamples = f"{RESAMPLES:,} resamples of {counted(len(seeds), 'seed')}"
        text = f"the order holds in {100 * holds.mean():.0f} % of {resamples}; tau {signed(tau)}"
        means = zip(self.variants, values.mean(axis=1), strict=True)
        in_order = ", ".join(f"{name} {signed(mean)}" for name, mean in means)
        notes = (f"Mean differences in the claimed order: {in_order}", *listed(steps, "Step by step"))
        return Finding(*judge(steps, Region(low=0)), (share,), share, text, notes)


class ChromaTest(Test):
    """Whether, in every run, the kernels of conv1 in one column have more colour than those in the other, whichever."""

    def measure(self, evidence: Evidence) -> Finding:
        name = self.variants[0]
        runs = evidence.runs[name]
        held, n = sum(p <= ALPHA for p in by_seed(runs, "conv1_chroma_p").values()), len(runs)
        one, two = (by_seed(runs, f"conv1_chroma_column{column}") for column in (1, 2))
        seen = estimate.share(name, held, n, evidence.confidence)
        note = f"Mean difference of the columns' share of colour: {mean([abs(one[s] - two[s]) for s in runs]):.3f}"
        ruling = every_run(held, n, seen.high or 0.0)
        return Finding(*ruling, (seen,), seen, f"{held} of {n} runs, p at most {ALPHA:g}", (note,))


TESTS: dict[str, type[Test | ArithmeticTest]] = {
    "difference": DifferenceTest,
    "same_run": SameRunTest,
    "level": LevelTest,
    "ensemble": EnsembleTest,
    "level_ratio": LevelRatioTest,
    "early_loss": EarlyLossTest,
    "ranking": RankingTest,
    "chroma": ChromaTest,
    "time_ratio": TimeRatioTest,
    "drops": DropsTest,
    "arithmetic": ArithmeticTest,
}
"""Every statistic that a claim can name."""
