"""What a verdict rests on: which of them the paired t test alone would not give, and whether the arms scatter alike."""

from dataclasses import replace

import numpy as np
from scipy import stats

from harness.report.cells import Results
from harness.report.tables import compared_errors, comparisons, rules
from harness.report.template import paragraph
from harness.settings.study import Study
from harness.statistics.models import residuals_of

APART = 0.01
"""p of Bartlett's test at which arms are said to scatter differently: a hint, so that it is to be seldom false."""

LEAST = 5
"""Seeds and arms from which on it is asked whether the arms' scales differ: fewer cannot say."""


def text(study: Study, results: Results) -> str:
    """What a reader is to know of a shared residual; empty where nothing hangs on it."""
    if rules(study).test != "block":
        return ""
    own = comparisons(study, results)
    alone = comparisons(replace(study, file=study.file.model_copy(update={"test": "paired_t"})), results)
    others = [(name, alone[name]) for name, c in own.items() if c.in_family and c.verdict != alone[name].verdict]
    return paragraph("robust", others=others, apart=_apart(study, results))


def _apart(study: Study, results: Results) -> dict[str, float]:
    """The sds of the arms' residuals, and p, where they differ by Bartlett's test; else nothing."""
    errors = compared_errors(study, results)
    seeds = sorted(set.intersection(*(set(arm) for arm in errors.values()))) if errors else []
    table = np.array([[arm[seed] for arm in errors.values()] for seed in seeds])
    if len(errors) < LEAST or len(seeds) < LEAST or not np.isfinite(table).all():
        return {}
    residuals = residuals_of(table)
    p = float(stats.bartlett(*residuals.T).pvalue) if (residuals.std(0) > 0).all() else 0.0
    sds = residuals.std(0, ddof=1)
    return {} if p > APART else {"p": p, "least": float(sds.min()), "most": float(sds.max())}
