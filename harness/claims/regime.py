"""Whether a net overfits: a claim on overfitting is judged where it does, and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from harness.claims import schema
from harness.claims.measure import Found
from harness.claims.statistics import Runs, metric
from harness.claims.verdict import Judged

FITTED = 0.5
"""Training error, as a share of the test error, from which down a net is said to overfit."""


@dataclass(frozen=True)
class Fit:
    """A variant's mean training and test errors, in percent."""

    training: float
    test: float

    @classmethod
    def of(cls, runs: Runs) -> "Fit":
        training, test = (
            sum(metric(run, error) for run in runs.values()) / len(runs) for error in ("train_top1", "test_top1")
        )
        return cls(training, test)

    def overfits(self, fitted: float) -> bool:
        return self.training <= fitted * self.test


def in_regime(found: Found, test: schema.Test, runs: Mapping[str, Runs]) -> Found:
    """A verdict on overfitting, and whether the net does: it fits its training images far better than the test's."""
    name = test.variants[0]
    own = Fit.of(runs[name])
    fitted = test.fitted if isinstance(test, schema.DifferenceTest) else FITTED
    words = f"Regime: {name} has {own.training:.1f} % training and {own.test:.1f} % test error"
    if own.overfits(fitted):
        # Only a difference is a statement on the other net too.
        other = _other(test.against, runs, fitted) if isinstance(test, schema.DifferenceTest) else ""
        return replace(found, notes=(f"{words}: it overfits{other}", *found.notes))
    judged = Judged("not testable here", "the net does not overfit here")
    limit = f"{words}; overfitting is taken to begin where the first is at most {fitted:g} times the second"
    return replace(found, judged=judged, notes=(limit, *found.notes))


def _other(name: str, runs: Mapping[str, Runs], fitted: float) -> str:
    """That the net which it is compared with overfits too, less or more: then the gap alone tells them apart."""
    fit = Fit.of(runs[name])
    errors = f"({fit.training:.1f} % and {fit.test:.1f} %)"
    if not fit.overfits(fitted):
        return f", and {name} does not {errors}"
    return f", and so does {name} {errors}: the claim is on by how much"
