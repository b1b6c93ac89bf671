"""What a verdict rests on: which of them the paired t test alone would not give, and whether the arms scatter alike."""

from dataclasses import replace

import numpy as np
from scipy import stats

from harness.report.cells import Results
from harness.report.markdown import code, joined
from harness.report.numbers import p_value
from harness.report.tables import compared_errors, comparisons, rules
from harness.settings.study import Study
from harness.statistics.calibrate import residuals_of
from harness.statistics.comparison import Comparison

POOLING = ("block", "moderated")
"""Tests in which arms share a residual."""

APART = 0.01
"""p of Bartlett's test at which arms are said to scatter differently: a hint, so that it is to be seldom false."""

LEAST = 5
"""Seeds and arms from which on it is asked whether the arms' scales differ: fewer cannot say."""


def text(study: Study, results: Results) -> str:
    """What a reader is to know of a shared residual; empty where nothing hangs on it."""
    if rules(study).test not in POOLING:
        return ""
    return " ".join(filter(None, (_alone(study, results), _apart(study, results))))


def _alone(study: Study, results: Results) -> str:
    """Verdicts that differ from those of the paired t test."""
    own = comparisons(study, results)
    alone = comparisons(_declaring(study, "paired_t"), results)
    other = [name for name, c in own.items() if c.in_family and c.verdict != alone[name].verdict]
    if not other:
        return ""
    named = [f"{code(name)} would get *{alone[name].verdict}* ({_p(alone[name])})" for name in other]
    return (
        f"By each variant's own differences alone (`paired_t` with Holm's adjustment) {joined(named)}: there the "
        "verdict rests on what all arms together say of the noise."
    )


def _p(c: Comparison) -> str:
    return f"adjusted p {p_value(c.adjusted)}" if c.adjusted is not None else "no p"


def _declaring(study: Study, test: str) -> Study:
    return replace(study, file=study.file.model_copy(update={"test": test}))


def _apart(study: Study, results: Results) -> str:
    """That the arms' residuals differ in scale more than chance would have it, where Bartlett's test finds so."""
    errors = compared_errors(study, results)
    seeds = sorted(set.intersection(*(set(arm) for arm in errors.values()))) if errors else []
    table = np.array([[arm[seed] for arm in errors.values()] for seed in seeds])
    if len(errors) < LEAST or len(seeds) < LEAST or not np.isfinite(table).all():
        return ""
    residuals = residuals_of(table)
    p = float(stats.bartlett(*residuals.T).pvalue) if (residuals.std(0) > 0).all() else 0.0
    if p > APART:
        return ""
    sds = residuals.std(0, ddof=1)
    return (
        f"**The arms scatter differently** (sds of the residuals from {sds.min():.2g} to {sds.max():.2g} points, "
        f"Bartlett's p {p_value(p)}): where all of them do, a shared residual errs more often than alpha says, and "
        "`test: paired_t` does not."
    )
