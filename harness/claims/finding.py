"""What every test of a claim has: what it is declared with, the runs that it looks at, and what it finds there.

A test names variants as studies name them. Which study has them is not known here. For k numbers that one claim needs
together, each interval is at 1 - (1 - confidence) / k.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.claims.estimate import NotMeasuredError, Runs, metric, paired
from harness.claims.facts import FACTS
from harness.claims.verdict import Estimate, Region, Ruling, Verdict, judge, weakest
from harness.settings.schema import Declared
from harness.settings.study import NAME, Study

if TYPE_CHECKING:
    from harness.statistics.comparison import Comparison

Variant = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]


class Ensemble(BaseModel):
    """Errors, in percent, of the mean of several nets' outputs; `made_of`: hashes of their weights, by run."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    test_top1: float
    test_top1_10crop: float
    made_of: dict[str, Any] = {}


@dataclass(frozen=True)
class Evidence:
    """What a study has to test claims on: finished runs by variant and seed, and what was computed of them."""

    study: Study
    runs: Mapping[str, Runs]
    ensembles: Mapping[str, Ensemble]
    comparisons: Mapping[str, Comparison]

    @property
    def confidence(self) -> float:
        return self.study.file.confidence

    def same_comparisons(self, metric: str, against: str) -> Mapping[str, Comparison]:
        """The study's comparisons, where they are the same difference: a number has one interval in a report."""
        same = (metric, against) == (self.study.file.metric, self.study.baseline)
        return self.comparisons if same else {}

    def difference(self, name: str, against: str, error: str, confidence: float) -> Estimate:
        from scipy import stats

        row = self.same_comparisons(error, against).get(name)
        if row and row.difference.mean is not None and row.se is not None:
            mean, half = row.difference.mean, float(stats.t.ppf((1 + confidence) / 2, row.df)) * row.se
            return Estimate(name, mean, mean - half, mean + half, row.difference.n)
        return paired(name, self.runs[name], self.runs[against], lambda run: metric(run, error), confidence)


@dataclass(frozen=True)
class Finding:
    """What a test finds: the verdict with its reason, the numbers, and what else is worth saying.

    `weakest`: the number that speaks least for the claim; `text`: the numbers in words where no interval is one's.
    """

    verdict: Verdict
    reason: str
    estimates: tuple[Estimate, ...]
    weakest: Estimate
    text: str = ""
    notes: tuple[str, ...] = ()


class ArithmeticTest(Declared):
    """Something that is computed from the net or the settings: no run is needed, and the verdict is final."""

    statistic: Literal["arithmetic"]
    fact: str = Field(description="which")

    @model_validator(mode="after")
    def _fact(self) -> ArithmeticTest:
        if self.fact not in FACTS:
            raise ValueError(f"fact: got {self.fact!r}; allowed: {', '.join(FACTS)}")
        return self


class Test(Declared):
    """What every test on runs has: a statistic, and the variants that it reads."""

    __test__: ClassVar[bool] = False  # not a test of pytest's

    statistic: str = Field(description="which statistic")
    variants: Annotated[list[Variant], Field(min_length=1)] = Field(description="what is compared or looked at")
    against: Variant | None = Field(None, description="the variant that they are compared with")
    study: str = Field("", description="the study that declares these variants")

    @property
    def names(self) -> list[str]:
        return [*self.variants, *([self.against] if self.against else [])]

    @model_validator(mode="after")
    def _unique(self) -> Test:
        if repeated := [name for name in self.names if self.names.count(name) > 1]:
            raise ValueError(f"variants: {repeated[0]} is a duplicate")
        return self

    def __str__(self) -> str:
        against = f" against {self.against}" if self.against else ""
        where = f" (study {self.study})" if self.study else ""
        return f"{self.statistic} of {', '.join(self.variants)}{against}{self.claimed}{where}"

    @property
    def claimed(self) -> str:
        return ""

    def measure(self, evidence: Evidence) -> Finding:
        """The test's numbers and verdict. Raises `NotMeasuredError`."""
        raise NotImplementedError


class Directed(Test):
    """A test of a number: on which side of `bound` it lies, or that it is no further from it than `margin`."""

    direction: Literal["more", "less", "equal"] = Field(description="the claimed side of the bound")
    bound: float = Field(0.0, description="what the number is held against")
    margin: float | None = Field(None, gt=0, description="equal: points, or for a ratio the factor, around the bound")
    ratio: ClassVar[bool] = False

    @model_validator(mode="after")
    def _margin(self) -> Directed:
        if self.ratio and self.margin is not None and self.margin <= 1:
            raise ValueError(f"margin: got {self.margin:g}; {self.statistic} takes a factor > 1")
        if (self.direction == "equal") != (self.margin is not None):
            raise ValueError(f"margin: got {self.margin}; direction {self.direction} takes " + (
                "a number > 0" if self.direction == "equal" else "none"))  # fmt: skip
        return self

    @property
    def region(self) -> Region:
        """Where the number lies if the claim is true; for a ratio the margin is a factor."""
        if self.margin is None:
            return Region(low=self.bound) if self.direction == "more" else Region(high=self.bound)
        if self.ratio:
            return Region(self.bound / self.margin, self.bound * self.margin)
        return Region(self.bound - self.margin, self.bound + self.margin)

    @property
    def claimed(self) -> str:
        within = f" within {'a factor of ' if self.ratio else ''}{self.margin:g}" if self.margin else ""
        return f": {self.direction} {'to' if self.margin else 'than'} {self.bound:g}{within}"

    @property
    def parts(self) -> int:
        """Numbers that must lie on the claimed side, all at once."""
        return len(self.variants)

    def measure(self, evidence: Evidence) -> Finding:
        parts, notes = self.numbers(evidence, 1 - (1 - evidence.confidence) / self.parts)
        if not any(part.n for part in parts):
            raise NotMeasuredError("no pair of finished runs on the same images")
        return Finding(*self.judge(parts), tuple(parts), weakest(parts, self.region), notes=tuple(notes))

    def numbers(self, evidence: Evidence, confidence: float) -> tuple[list[Estimate], list[str]]:
        """A number for each part of the claim, whose interval has this confidence; and what stands beside."""
        raise NotImplementedError

    def judge(self, parts: list[Estimate]) -> Ruling:
        return judge(parts, self.region)


class Pairwise(Directed):
    """A test of each variant against another one, seed by seed."""

    against: Variant = Field(description="the variant that they are compared with")


def listed(estimates: list[Estimate], what: str = "Beside it") -> list[str]:
    """One note on numbers that stand beside; none without a number."""
    numbers = "; ".join(str(estimate) for estimate in estimates if estimate.value is not None)
    return [f"{what}: {numbers}"] if numbers else []
