"""From a test to its numbers and its verdict: which statistic is computed on which runs, and what stands beside."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.claims import entries, statistics
from harness.claims.statistics import NotMeasuredError, Runs
from harness.claims.verdict import Estimate, Judged, Region, every_run, judge, weakest
from harness.grammar import counted
from harness.record import Run
from harness.settings.study import Study
from harness.statistics.comparison import Comparison
from harness.statistics.judging import PROMISED

UNTIMED = Judged("inconclusive", "what else a machine does is not drawn anew with the seed, hence no interval of times")
"""The verdict on training times, which runs of a study are not: they stand beside other work."""


FITTED = 0.5
"""Training error, as a share of the test error, from which down a net is said to overfit."""


class Ensemble(BaseModel):
    """Errors, in percent, of the mean of several seeds' outputs, as stored beside a study's cells."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    seeds: list[int]
    test_top1: float
    test_top1_10crop: float | None = None
    made_of: dict[str, Any] = {}


@dataclass(frozen=True)
class Found:
    """What a test gives: numbers, a verdict, and what else is worth saying."""

    judged: Judged
    estimates: tuple[Estimate, ...] = ()
    weakest: Estimate | None = None
    text: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Given:
    """What a study has to measure a test on: finished runs by variant and seed, and what was computed of them."""

    study: Study
    runs: Mapping[str, Runs]
    ensembles: Mapping[str, Ensemble]
    comparisons: Mapping[str, Comparison]

    def own(self, against: str, metric: str) -> Mapping[str, Comparison]:
        """The study's own comparisons, where they are the same difference: a number has one interval in a report."""
        same = (metric, against) == (self.study.file.metric, self.study.baseline)
        return self.comparisons if same else {}

    def difference(self, metric: str, variant: str, against: str, confidence: float) -> Estimate:
        row = self.own(against, metric).get(variant)
        if row is not None and row.se is not None:
            return statistics.of_comparison(row, confidence, variant)
        return statistics.paired(self.runs[variant], self.runs[against], _value(metric), confidence, variant)


def measure(
    test: entries.Test,
    study: Study,
    runs: Mapping[str, Runs],
    ensembles: Mapping[str, Ensemble] | None,
    comparisons: Mapping[str, Comparison] | None = None,
) -> Found:
    """A test's numbers and verdict on finished runs. Raises `NotMeasuredError`."""
    absent = [name for name in test.names if not runs[name]]
    if absent:
        raise NotMeasuredError(f"no finished run of {', '.join(absent)}")
    match test:
        case entries.RankingTest():
            return _ranking(test, study, runs)
        case entries.ChromaTest():
            return _chroma(test, runs, study.file.confidence)
        case entries.Directed():
            given = _Given(study, runs, ensembles or {}, comparisons or {})
            parts, notes = _numbers(test, given)
            if not any(part.n for part in parts):
                raise NotMeasuredError("no pair of finished runs on the same images")
            region = statistics.region(test)
            judged = UNTIMED if isinstance(test, entries.TimeRatioTest) else judge(parts, region)
            if isinstance(test, entries.DifferenceTest) and judged.verdict != "inconclusive":
                notes = [*_limits(test, given, parts), *notes]
            return Found(judged, tuple(parts), weakest(parts, region), notes=tuple(notes))
    raise TypeError(f"{test.statistic}: no such statistic")


def _numbers(test: entries.Directed, given: _Given) -> tuple[list[Estimate], list[str]]:
    runs, variants = given.runs, test.variants
    each = statistics.adjusted(given.study.file.confidence, len(variants))
    match test:
        case entries.DifferenceTest():
            metric = test.metric or given.study.file.metric
            notes: list[str] = []
            if metric == "gap":
                # A wider gap is no harm by itself: what the test error does stands beside it.
                errors = [given.difference("test_top1", v, test.against, each) for v in variants]
                notes += _listed([replace(e, name=f"test error of {e.name} less {test.against}") for e in errors])
            beside = [given.difference(metric, v, test.against, each) for v in test.beside if runs.get(v)]
            return [given.difference(metric, v, test.against, each) for v in variants], notes + _listed(beside)
        case entries.SameRunTest():
            first, second = test.metrics
            parts = [statistics.same_run(runs[v], first, second, each, v) for v in variants]
            beside = [
                statistics.same_run(runs[v], other, second, each, f"{other} less {second} of {v}")
                for v in variants
                for other in test.beside
            ]
            return parts, _listed(beside)
        case entries.LevelTest():
            return [replace(statistics.level(runs[v], test.metric, each), name=v) for v in variants], []
        case entries.EnsembleTest():
            return [_ensemble(test, given)], []
        case entries.EarlyLossTest():

            def early(run: Run) -> float:
                return statistics.early_loss(run, test.epochs)

            return [statistics.paired(runs[v], runs[test.against], early, each, v, "nats") for v in variants], []
        case entries.LevelRatioTest():
            arms, chosen = _arms(test, runs)
            against = arms[test.against]
            parts = [statistics.level_ratio(arms[v], against, test.curve, test.level, each, v) for v in variants]
            return parts, [*chosen, *_epochs_notes(test, arms)]
        case entries.TimeRatioTest():
            return [statistics.time_ratio(runs[v], runs[test.against], v) for v in variants], []
        case entries.DropsTest():
            fell = {v: [statistics.drops(run) for run in runs[v].values()] for v in variants}
            counts = {v: [len(epochs) for epochs in found] for v, found in fell.items()}
            parts = [Estimate(v, _mean(n), min(n), max(n), len(n), "drops") for v, n in counts.items()]
            return parts, [f"{v} at epochs {'; '.join(map(str, found))}" for v, found in fell.items()]
    raise TypeError(f"{test.statistic}: no such statistic")


def _value(name: str) -> Callable[[Run], float]:
    return lambda run: statistics.metric(run, name)


def _limits(test: entries.DifferenceTest, given: _Given, parts: Sequence[Estimate]) -> list[str]:
    """What a verdict does not say: the table of variants, where a row is one of many, may leave the same open."""
    few = min(part.n for part in parts)
    notes = [f"{counted(few, 'seed')}: with fewer than {PROMISED} no error rate is promised"] if few < PROMISED else []
    own = given.own(test.against, test.metric or given.study.file.metric)
    rows = {name: own[name] for name in test.variants if name in own}
    return notes + [
        f"That is {name} by itself; as one of {counted(row.comparisons, 'comparison')} it is inconclusive "
        f"(adjusted p {row.adjusted:.2g})"
        for name, row in rows.items()
        if row.in_family and row.adjusted is not None and row.verdict == "inconclusive"
    ]


def _listed(estimates: Sequence[Estimate], what: str = "Beside it") -> list[str]:
    """`Beside it: lrn-conv1 +0.21 (-0.10 to +0.52)`."""
    told = [estimate for estimate in estimates if estimate.value is not None]
    return [f"{what}: {'; '.join(map(_short, told))}"] if told else []


def _short(estimate: Estimate) -> str:
    value, low, high = (_signed(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{estimate.name} {value} ({low} to {high})" if low and high else f"{estimate.name} {value}, no interval"


def _signed(number: float | None) -> str:
    return "" if number is None else f"{number:+.2f}".replace("-", "\N{MINUS SIGN}")


def _arms(test: entries.LevelRatioTest, runs: Mapping[str, Runs]) -> tuple[dict[str, Runs], list[str]]:
    """Each arm's runs, chosen by mean validation error where it has a grid; and what was chosen, at which cost."""
    arms: dict[str, Runs] = {}
    notes: list[str] = []
    for arm in [*test.variants, test.against]:
        grid = test.grid.get(arm, [arm])
        errors = {
            name: _mean([statistics.metric(run, "validation_top1") for run in runs[name].values()]) for name in grid
        }
        best = min(grid, key=lambda name: errors[name])
        arms[arm] = runs[best]
        if len(grid) > 1:
            hours = sum(run.provenance.wall_seconds for name in grid for run in runs[name].values()) / 3600
            count = sum(len(runs[name]) for name in grid)
            notes.append(
                f"{arm} is {best}, least validation error ({errors[best]:.1f} %) of {len(grid)}: "
                f"{counted(count, 'run')}, {hours:.1f} h of training"
            )
    return arms, notes


def _epochs_notes(test: entries.LevelRatioTest, runs: Mapping[str, Runs]) -> list[str]:
    notes = []
    for name in runs:
        found = [statistics.crossing(run.history, test.curve, test.level) for run in runs[name].values()]
        reached = [one.epochs for one in found if not one.censored]
        never = len(found) - len(reached)
        words = f"after {_mean(reached):.1f} epochs on average" if reached else "never"
        notes.append(f"{name} gets there {words}" + (f", never in {never} of {len(found)} runs" if never else ""))
    return [f"{test.curve} of {test.level:g}: {'; '.join(notes)}"]


def _ensemble(test: entries.EnsembleTest, given: _Given) -> Estimate:
    name = "+".join(test.variants)
    found = given.ensembles.get(name)
    if found is None:
        raise NotMeasuredError(f"no ensemble of {name} was evaluated")
    members = given.runs[test.variants[0]]
    if len(test.variants) == 1 and sorted(found.seeds) != sorted(members):
        raise NotMeasuredError(
            f"the ensemble of {name} is of seeds {', '.join(map(str, sorted(found.seeds)))}, but those that finished "
            f"are {', '.join(map(str, sorted(members)))}"
        )
    pairs = [(f"{v}-{seed}", run) for v in test.variants for seed, run in given.runs[v].items()]
    if found.made_of and found.made_of.get("weights") != {key: run.hashes.weights for key, run in pairs}:
        raise NotMeasuredError(f"the ensemble of {name} is of other weights than the runs; run: harness ensemble")
    error = found.test_top1 if test.metric == "test_top1" else found.test_top1_10crop
    if error is None:
        raise NotMeasuredError(f"the ensemble of {name} has no {test.metric}")
    return statistics.ensemble(error, members, test.metric, given.study.file.confidence)


def _ranking(test: entries.RankingTest, study: Study, runs: Mapping[str, Runs]) -> Found:
    order = {name: runs[name] for name in test.variants}
    generator = np.random.default_rng(0)
    found = statistics.ranking(order, runs[test.against], study.file.metric, test.resamples, generator)
    # How often an order holds in resamples is no test: of four equal arms a given one holds in a 24th of them.
    each = statistics.adjusted(study.file.confidence, len(test.variants) - 1)
    value = _value(study.file.metric)
    steps = [
        statistics.paired(runs[one], runs[other], value, each, f"{one} less {other}")
        for one, other in pairwise(test.variants)
    ]
    judged = judge(steps, Region(low=0))
    estimate = Estimate("order", found.share, None, None, found.n, "of the resamples")
    means = ", ".join(f"{name} {_signed(mean)}" for name, mean in found.means.items())
    held = f"{100 * found.share:.0f} % of {test.resamples:,} resamples of {counted(found.n, 'seed')}"
    text = f"the order holds in {held}; tau {_signed(found.tau)}"
    notes = (f"Mean differences in the claimed order: {means}", *_listed(steps, "Step by step"))
    return Found(judged, (estimate,), estimate, text, notes)


def _chroma(test: entries.ChromaTest, runs: Mapping[str, Runs], confidence: float) -> Found:
    name = test.variants[0]
    held, n = statistics.split_runs(runs[name], test.alpha), len(runs[name])
    estimate = statistics.share(held, n, confidence, name)
    judged = every_run(held, n, estimate.high if estimate.high is not None else 1.0)
    mean = _mean([statistics.chroma_difference(run) for run in runs[name].values()])
    note = f"Mean difference of the columns' share of colour: {mean:.3f}"
    return Found(judged, (estimate,), estimate, f"{held} of {n} runs, p at most {test.alpha:g}", (note,))


# ---- a claim on overfitting is judged where a net overfits, and nowhere else


def in_regime(found: Found, test: entries.Test, runs: Mapping[str, Runs]) -> Found:
    """A verdict on overfitting, and whether the net does: it fits its training images far better than the test's."""
    name, fitted = test.variants[0], FITTED
    against = None
    if isinstance(test, entries.DifferenceTest):  # only a difference is a statement on the other net too
        against, fitted = test.against, test.fitted
    training, error = _fit(runs[name])
    words = f"Regime: {name} has {training:.1f} % training and {error:.1f} % test error"
    if training > fitted * error:
        limit = f"{words}; overfitting is taken to begin where the first is at most {fitted:g} times the second"
        judged = Judged("not testable here", "the net does not overfit here")
        return replace(found, judged=judged, notes=(limit, *found.notes))
    words += ": it overfits"
    if against:
        training, error = _fit(runs[against])
        errors = f"({training:.1f} % and {error:.1f} %)"
        too = f", and so does {against} {errors}: the claim is on by how much"
        words += too if training <= fitted * error else f", and {against} does not {errors}"
    return replace(found, notes=(words, *found.notes))


def _fit(runs: Runs) -> tuple[float, float]:
    """Mean training and test error of a variant, in percent."""
    one, other = ([statistics.metric(run, name) for run in runs.values()] for name in ("train_top1", "test_top1"))
    return _mean(one), _mean(other)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
