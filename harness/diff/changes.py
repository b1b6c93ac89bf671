"""What became of each row between two reports: its estimate with an interval of the change, its verdict, and why."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from harness.diff.sides import ReportRow, Side
from harness.report.circumstances import CIRCUMSTANCES
from harness.statistics.comparison import Rules, compare_all
from harness.statistics.multiplicity import holm

Agreement = Literal["same runs", "equal", "agree", "differ", "unknown", "not comparable"]
"""same runs: by fingerprint and outcome; equal: other runs, a bitwise identical outcome; agree, differ: whether the
interval of the change holds zero; unknown: there is no interval; not comparable: another metric or baseline."""

OUTCOME = ["weights", "error"]


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
    old: ReportRow | None
    new: ReportRow | None
    moved: Moved = Moved(None)
    agreement: Agreement = "not comparable"
    why: tuple[str, ...] = ()

    @property
    def verdict_changed(self) -> bool:
        """Of a row that both sides have."""
        return bool(self.old and self.new and self.old.verdict != self.new.verdict)


def compare(old: Side, new: Side) -> list[RowChange]:
    """A change a variant, in the order of the new report, then what only the old one has."""
    moved = _moved(old, new, [variant for variant in new.rows if variant in old.rows])
    changes = []
    for variant in new.rows | old.rows:
        change = RowChange(variant, old.rows.get(variant), new.rows.get(variant))
        if variant in moved:
            agreement = _agreement(old, new, variant, moved[variant])
            change = replace(change, moved=moved[variant], agreement=agreement, why=_why(old, new, variant))
            if change.verdict_changed and not change.why:
                change = replace(change, why=("how verdicts are computed: runs and rules are the same",))
        changes.append(change)
    return changes


def same_runs(old: Side, new: Side) -> bool:
    """Whether both sides hold the same runs: variants, seeds, fingerprints and what came out."""
    one, other = (side.runs[["fingerprint", *OUTCOME]].sort_index() for side in (old, new))
    return bool(len(one)) and one.equals(other)


# ---- estimates


def _moved(old: Side, new: Side, variants: list[str]) -> dict[str, Moved]:
    """Changes of all rows: by the new report's test where both sides have the same seeds, else each by itself.

    With the same seeds, new less old of each run is a value by itself, paired by seed: the change of a difference is
    the difference of changes, whatever the two runs of a seed share.
    """
    one, other = ({v: side.compared(v) for v in variants} for side in (old, new))
    means = {v: float(other[v].mean() - one[v].mean()) for v in variants}
    moved = {v: Moved(None if math.isnan(mean) else mean) for v, mean in means.items()}
    tested = [v for v in variants if _comparable(old, new, v)]
    if not tested:
        return moved
    rule = new.rows[tested[0]].rule
    alpha = float(rule["alpha"])
    seeds = {tuple(sorted(differences[v].index)) for differences in (one, other) for v in tested}
    if len(seeds) == 1:
        values: Any = (new.errors - old.errors).loc[list(seeds.pop()), [new.baseline, *tested]].to_dict()
        rules = Rules(alpha=alpha, test="block" if rule["test"] == "block" else "paired_t")
        for v, c in compare_all(values, new.baseline, rules).items():
            moved[v] = Moved(c.difference.mean, c.difference.low, c.difference.high, c.p, c.adjusted)
        return moved
    moved |= {v: unpaired(one[v], other[v], alpha) for v in tested}
    adjusted = holm(np.array([moved[v].p for v in tested], dtype=np.float64))
    return moved | {
        v: replace(moved[v], adjusted=None if math.isnan(p) else float(p))
        for v, p in zip(tested, adjusted, strict=True)
    }


def _comparable(old: Side, new: Side, variant: str) -> bool:
    return old.baseline == new.baseline and old.rows[variant].rule["metric"] == new.rows[variant].rule["metric"]


def unpaired(old: "pd.Series[float]", new: "pd.Series[float]", alpha: float) -> Moved:
    """Change of a mean between two sets of seeds that may share some, with Student's interval of confidence 1 - alpha.

    Var = s^2 / n + s'^2 / n' - 2 c cov / (n n') with c shared seeds, whose covariance is their own. Degrees of freedom:
    Welch's where none is shared, one less than the shared seeds where all are, else one less than the smaller set.
    """
    n, m = len(old), len(new)
    if not n or not m:
        return Moved(None)
    mean = float(new.mean() - old.mean())
    if min(n, m) < 2:
        return Moved(mean)
    shared = old.index.intersection(new.index)
    covariance = float(old[shared].cov(new[shared])) if len(shared) > 1 else 0.0
    parts = float(old.var()) / n, float(new.var()) / m
    variance = sum(parts) - 2 * len(shared) * covariance / (n * m)
    if variance <= 1e-24 * max(1.0, float(old.abs().max()), float(new.abs().max())) ** 2:
        return Moved(mean)
    df = float(min(n, m) - 1)
    if shared.empty:
        df = sum(parts) ** 2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (m - 1))
    half = float(stats.t.ppf(1 - alpha / 2, df)) * math.sqrt(variance)
    return Moved(mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / math.sqrt(variance), df)))


def _agreement(old: Side, new: Side, variant: str, moved: Moved) -> Agreement:
    if not _comparable(old, new, variant):
        return "not comparable"
    one, other = _runs(old, variant), _runs(new, variant)
    if len(one) and one[OUTCOME].equals(other[OUTCOME]):
        return "same runs" if one["fingerprint"].equals(other["fingerprint"]) else "equal"
    if moved.low is None or moved.high is None:
        return "unknown"
    return "agree" if moved.low <= 0 <= moved.high else "differ"


# ---- reasons


def _runs(side: Side, variant: str) -> pd.DataFrame:
    return side.runs.loc[[(name, seed) for name in (side.baseline, variant) for seed in side.rows[variant].seeds]]


def _why(old: Side, new: Side, variant: str) -> tuple[str, ...]:
    """What differs between the sides in what a row is made of, a line each; what only one side has says nothing."""
    one, other = _facts(old, variant), _facts(new, variant)
    moved = {name: f"{one[name]} -> {other[name]}" for name in one if name in other and one[name] != other[name]}
    lines = []
    for name, change in moved.items():
        of, _, setting = name.partition(", ")
        in_base, in_variant = (f"settings of {v}, {setting}" for v in (new.baseline, variant))
        if of.startswith("settings of ") and moved.get(in_base) == moved.get(
            in_variant
        ):  # changed alike in both: one line
            lines += [f"settings, {setting}: {change}"] if name == in_base else []
        else:
            lines.append(f"{name}: {change}")
    if not lines and not _runs(old, variant)[OUTCOME].equals(_runs(new, variant)[OUTCOME]):
        lines.append("the runs were re-run with another outcome, though all that both cells.csv have is the same")
    return tuple(lines)


def _facts(side: Side, variant: str) -> dict[str, Any]:
    """What a row is made of. A setting that a side does not know had no switch in its code: no effect there."""
    row, runs = side.rows[variant], _runs(side, variant)

    def of(values: Iterable[str]) -> str:
        return " and ".join(sorted(set(values))) or "none"

    return {
        "baseline": side.baseline,
        "data": of(runs["data"].str[:12]),
        "numerics identity": of(runs["code"].str[:12]),
        **{
            f"settings of {v}, {name}": value
            for v in (side.baseline, variant)
            for name, value in side.settings(v).items()
        },
        "seeds": ", ".join(map(str, row.seeds)) or "none",
        **{f"environment, {name}": of(runs[name]) for name in CIRCUMSTANCES if name in runs and len(runs)},
        **{f"rule, {name}": value for name, value in row.rule.items()},
        "rule, comparisons with a verdict": sum(1 for other in side.rows.values() if other.verdict),
    }
