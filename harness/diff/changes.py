"""What became of each row between two reports: its estimate with an interval of the change, its verdict, and why."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from harness.diff.sides import Row, Run, Side
from harness.report.circumstances import CIRCUMSTANCES
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.judging import Test
from harness.statistics.multiplicity import holm

Agreement = Literal["same runs", "equal", "agree", "differ", "unknown", "not comparable"]
"""same runs: by fingerprint and outcome; equal: other runs, a bitwise identical outcome; agree, differ: whether the
interval of the change holds zero; unknown: there is no interval; not comparable: another metric or baseline."""


@dataclass(frozen=True)
class Moved:
    """Change of an estimate, new less old, in the report's unit. `p`: of no change; `adjusted`: over all rows."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None


@dataclass(frozen=True)
class RowChange:
    """A variant on both sides, or on one. `why`: what differs between the sides of what the row is made of."""

    variant: str
    old: Row | None
    new: Row | None
    moved: Moved
    agreement: Agreement
    why: tuple[str, ...]

    @property
    def verdict_changed(self) -> bool:
        """Of a row that both sides have."""
        return bool(self.old and self.new and self.old.verdict != self.new.verdict)


def compare(old: Side, new: Side) -> list[RowChange]:
    """A change a variant, in the order of the new report, then what only the old one has."""
    both = [variant for variant in new.rows if variant in old.rows]
    moved = _moved(old, new, both)
    changes = []
    for variant in [*new.rows, *(v for v in old.rows if v not in new.rows)]:
        one, other = old.rows.get(variant), new.rows.get(variant)
        if one is None or other is None:
            changes.append(RowChange(variant, one, other, Moved(None), "not comparable", ()))
            continue
        agreement = _agreement(old, new, variant, moved[variant])
        why = _why(old, new, variant)
        if not why and one.verdict != other.verdict:
            why = ("how verdicts are computed: runs and rules are the same",)
        changes.append(RowChange(variant, one, other, moved[variant], agreement, why))
    return changes


def same_runs(old: Side, new: Side) -> bool:
    """Whether both sides hold the same runs: variants, seeds, fingerprints and what came out."""

    one, other = (
        {(v, s): (run.fingerprint, run.weights, run.error) for v, own in side.runs.items() for s, run in own.items()}
        for side in (old, new)
    )
    return bool(one) and one == other


# ---- estimates


def _moved(old: Side, new: Side, variants: list[str]) -> dict[str, Moved]:
    """Changes of all rows: by the new report's test where both sides have the same seeds, else each by itself.

    With the same seeds, new less old of each run is a value by itself, paired by seed: the change of a difference is
    the difference of changes, whatever the two runs of a seed share.
    """
    one, other = ({v: side.compared(v) for v in variants} for side in (old, new))
    means = {v: Moved(_mean(other[v]) - _mean(one[v]) if one[v] and other[v] else None) for v in variants}
    own = [v for v in variants if _comparable(old, new, v)]
    if not own:
        return means
    alpha = float(new.rows[own[0]].rule["alpha"])
    seeds = {tuple(sorted(values[v])) for values in (one, other) for v in own}
    if len(seeds) == 1:
        return means | _by_seed(old, new, own, next(iter(seeds)), alpha)
    apart = {v: unpaired(one[v], other[v], alpha) for v in own}
    adjusted = holm(np.array([m.p for m in apart.values()], dtype=np.float64))
    return means | {
        v: Moved(m.mean, m.low, m.high, m.p, None if math.isnan(p) else float(p))
        for (v, m), p in zip(apart.items(), adjusted, strict=True)
    }


def _comparable(old: Side, new: Side, variant: str) -> bool:
    metrics = {side.rows[variant].rule["metric"] for side in (old, new)}
    return old.baseline == new.baseline and len(metrics) == 1


def _by_seed(old: Side, new: Side, variants: list[str], seeds: tuple[int, ...], alpha: float) -> dict[str, Moved]:
    values = {
        v: {s: (new.runs[v][s].error or 0.0) - (old.runs[v][s].error or 0.0) for s in seeds}
        for v in (new.baseline, *variants)
    }
    test: Test = "block" if new.rows[variants[0]].rule["test"] == "block" else "paired_t"
    found = compare_all(values, new.baseline, Rules(alpha=alpha, test=test))
    return {v: Moved(c.difference.mean, c.difference.low, c.difference.high, c.p, c.adjusted) for v, c in found.items()}


def unpaired(old: Mapping[int, float], new: Mapping[int, float], alpha: float) -> Moved:
    """Change of a mean between two sets of seeds that may share some, with Student's interval of confidence 1 - alpha.

    Var = s^2 / n + s'^2 / n' - 2 c cov / (n n') with c shared seeds, whose covariance is their own. Degrees of freedom:
    Welch's where none is shared, one less than the shared seeds where all are, else one less than the smaller set.
    """
    if not old or not new:
        return Moved(None)
    mean = _mean(new) - _mean(old)
    n, m = len(old), len(new)
    if min(n, m) < 2:
        return Moved(mean)
    a, b = np.array(list(old.values())), np.array(list(new.values()))
    shared = sorted(old.keys() & new.keys())
    parts = float(a.var(ddof=1)) / n, float(b.var(ddof=1)) / m
    covariance = float(np.cov([old[s] for s in shared], [new[s] for s in shared])[0, 1]) if len(shared) > 1 else 0.0
    variance = sum(parts) - 2 * len(shared) * covariance / (n * m)
    if variance <= 1e-24 * max(1.0, float(abs(a).max()), float(abs(b).max())) ** 2:
        return Moved(mean)
    df = float(min(n, m) - 1)
    if not shared:
        df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    half = float(stats.t.ppf(1 - alpha / 2, df)) * math.sqrt(variance)
    return Moved(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), df)))


def _mean(values: Mapping[int, float]) -> float:
    return float(np.mean(list(values.values())))


def _agreement(old: Side, new: Side, variant: str, moved: Moved) -> Agreement:
    if not _comparable(old, new, variant):
        return "not comparable"
    one, other = (_runs(side, variant) for side in (old, new))
    if one and _outcomes(one) == _outcomes(other):
        same = all(one[key].fingerprint == other[key].fingerprint for key in one)
        return "same runs" if same else "equal"
    if moved.low is None or moved.high is None:
        return "unknown"
    return "agree" if moved.low <= 0 <= moved.high else "differ"


# ---- reasons


def _runs(side: Side, variant: str) -> dict[tuple[str, int], Run]:
    return {(name, s): side.runs[name][s] for name in (side.baseline, variant) for s in side.rows[variant].seeds}


def _outcomes(runs: Mapping[tuple[str, int], Run]) -> dict[tuple[str, int], tuple[str, float | None]]:
    return {key: (run.weights, run.error) for key, run in runs.items()}


def _why(old: Side, new: Side, variant: str) -> tuple[str, ...]:
    """What differs between the sides in what a row is made of, a line each; what only one side has says nothing."""
    one, other = _facts(old, variant), _facts(new, variant)
    moved = {name: f"{one[name]} -> {other[name]}" for name in one if name in other and not _equal(name, one, other)}
    found = []
    for name, change in moved.items():
        of, _, setting = name.partition(", ")
        base, own = (f"settings of {v}, {setting}" for v in (new.baseline, variant))
        if of.startswith("settings of ") and moved.get(base) == moved.get(own):  # changed alike in both: one line
            found += [f"settings, {setting}: {change}"] if name == base else []
        else:
            found.append(f"{name}: {change}")
    if not found and _outcomes(_runs(old, variant)) != _outcomes(_runs(new, variant)):
        found.append("the runs were re-run with another outcome, though all that both cells.csv have is the same")
    return tuple(found)


def _facts(side: Side, variant: str) -> dict[str, Any]:
    """What a row is made of. A setting that a side does not know had no switch in its code: no effect there."""
    row, runs = side.rows[variant], _runs(side, variant).values()

    def of(values: Iterable[str]) -> str:
        return " and ".join(sorted(set(values))) or "none"

    settings = {v: next((run.settings for run in side.runs[v].values() if run.settings), {})
                for v in (side.baseline, variant)}  # fmt: skip
    environment = {name: [run.environment[name] for run in runs if name in run.environment] for name in CIRCUMSTANCES}
    return {
        "baseline": side.baseline,
        "data": of(run.images_hash[:12] for run in runs),
        "numerics identity": of(run.code[:12] for run in runs),
        **{f"settings of {v}, {name}": value for v, own in settings.items() for name, value in own.items()},
        "seeds": ", ".join(map(str, row.seeds)) or "none",
        **{f"environment, {name}": of(values) for name, values in environment.items() if values},
        **{f"rule, {name}": value for name, value in row.rule.items()},
        "rule, comparisons with a verdict": sum(1 for other in side.rows.values() if other.verdict),
    }


def _equal(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Rules also as numbers: they may have been written with other digits."""
    a, b = one[name], other[name]
    try:
        return bool(a == b) or (name.startswith("rule, ") and math.isclose(float(a), float(b), rel_tol=1e-9))
    except ValueError:
        return False
