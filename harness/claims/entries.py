"""What a claim of the paper is: its words, its numbers, and the statistic that tests it. Read from a file and checked.

A test names variants as studies name them. Which study has them is not known here: a claim whose variants a study
lacks is not testable there, unless its test says `required`.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from harness.claims.arithmetic import FACTS
from harness.errors import UserError
from harness.files import read_yaml
from harness.settings.parse import parse
from harness.settings.schema import Declared
from harness.settings.study import NAME, Study

ID = re.compile(r"C\d\d[a-z]?|A\d{1,2}")
"""C: a claim of the paper's text; A: a point in which its authors' run may differ from the text."""

Variant = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
Need = Literal[
    "colour", "imagenet", "ilsvrc2010", "fall2009", "fall2011", "hardware_2012", "overfitting", "any"
]  # fmt: skip
Kind = Literal["arithmetic", "difference", "ratio", "ranking", "curve", "qualitative", "timing", "constant"]
Metric = Literal[
    "test_top1", "test_top1_10crop", "test_top5", "test_top5_10crop", "train_top1", "train_top5", "validation_top1",
    "test_top1_mc_geometric", "test_top1_mc_arithmetic", "fc7_precision6", "pixels_precision6", "gap", "wall_days",
]  # fmt: skip
Curve = Literal["train_loss", "train_top1", "validation_loss", "validation_top1", "clean_loss", "clean_top1"]


class Number(Declared):
    name: str = Field(description="what it is")
    value: float = Field(description="the number as printed")
    unit: str = Field("points", description="points of error, or another unit")
    tested: bool = Field(False, description="the test's number is an estimate of this one")


class Test(Declared):
    """What every test has: a statistic, and the variants that it reads."""

    __test__: ClassVar[bool] = False  # not a test of pytest's

    statistic: str = Field(description="which statistic")
    variants: list[Variant] = Field([], description="the variants that are compared or looked at")
    against: Variant | None = Field(None, description="the variant that they are compared with")
    study: str = Field("", description="the study that declares these variants")
    required: bool = Field(False, description="a study that lacks a variant is refused")

    @property
    def names(self) -> list[str]:
        return [*self.variants, *([self.against] if self.against else [])]


class Directed(Test):
    """A test of a number: on which side of `bound` it lies, or that it is no further from it than `margin`."""

    direction: Literal["more", "less", "equal"] = Field(description="the claimed side of the bound")
    bound: float = Field(0.0, description="what the number is held against")
    margin: float | None = Field(None, gt=0, description="equal: points, or for a ratio the factor, around the bound")
    ratio: ClassVar[bool] = False

    @model_validator(mode="after")
    def _margin(self) -> "Directed":
        if self.ratio and self.margin is not None and self.margin <= 1:
            raise ValueError(f"margin: got {self.margin:g}; {self.statistic} takes a factor > 1")
        if (self.direction == "equal") != (self.margin is not None):
            raise ValueError(f"margin: got {self.margin}; direction {self.direction} takes " + (
                "a number > 0" if self.direction == "equal" else "none"))  # fmt: skip
        return self


class Pairwise(Directed):
    """A test of each variant against another one, seed by seed."""

    against: Variant = Field(description="the variant that they are compared with")


class DifferenceTest(Pairwise):
    """Mean paired difference of a metric, variant less `against`, each variant by itself."""

    metric: Metric | None = Field(None, description="by default the study's")
    fitted: float = Field(
        0.5, gt=0, le=1, description="overfitting begins where training error is at most this part of test error"
    )
    beside: list[Variant] = Field([], description="variants whose differences stand beside, where the study has them")


class SameRunTest(Directed):
    """Mean difference of two metrics of the same runs, the first less the second: nothing is trained for it."""

    metrics: Annotated[list[Metric], Field(min_length=2, max_length=2)] = Field(description="the two metrics")
    beside: list[Metric] = Field([], description="metrics whose difference to the second stands beside")


class LevelTest(Directed):
    """Mean of a metric over the seeds."""

    metric: Metric = Field(description="the metric")


class EnsembleTest(Directed):
    """Error of the seeds' averaged predictions less that of each of its nets."""

    metric: Literal["test_top1", "test_top1_10crop"] = Field("test_top1", description="the error")


class LevelRatioTest(Pairwise):
    """Ratio of the epochs until a curve first reaches a level, variant over `against`, by seed on a log scale."""

    ratio: ClassVar[bool] = True
    curve: Curve = Field(description="column of the history")
    level: float = Field(gt=0, description="the level, in the curve's unit")
    grid: dict[Variant, Annotated[list[Variant], Field(min_length=2)]] = Field(
        {}, description="arm -> variants, of which the one with the least validation error stands for it"
    )

    @property
    def names(self) -> list[str]:
        """Every variant that it cannot do without: of an arm, all those that it is chosen from."""
        arms = [*self.variants, self.against]
        return [name for arm in arms for name in self.grid.get(arm, [arm])]


class EarlyLossTest(Pairwise):
    """Mean paired difference of the mean training loss of the first epochs."""

    epochs: int = Field(5, ge=1, description="how many first epochs")


class RankingTest(Test):
    """Whether the differences to `against` fall in the order of `variants`; its share of resamples of the seeds."""

    against: Variant = Field(description="the variant that they are compared with")
    variants: Annotated[list[Variant], Field(min_length=2)] = Field(description="the claimed order, largest first")
    resamples: int = Field(10_000, ge=100, description="bootstrap resamples of the seeds")


class ChromaTest(Test):
    """Whether, in every run, the kernels of conv1 in one column have more colour than those in the other."""

    alpha: float = Field(0.05, gt=0, lt=1, description="level of the permutation test of one run")


class TimeRatioTest(Pairwise):
    """Ratio of wall times, variant over `against`, by seed on a log scale."""

    ratio: ClassVar[bool] = True


class DropsTest(Directed):
    """How often the rate fell in a run, and when."""


class ArithmeticTest(Test):
    """Something that is computed from the net or the settings: no run is needed, and the verdict is final."""

    fact: str = Field(description="which")


TESTS: dict[str, type[Test]] = {
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


class Entry(Declared):
    section: str = Field(description="section of the paper")
    claim: str = Field(description="the claim, in a sentence of our own")
    published: list[dict[str, Any]] = Field(description="numbers: name, value, unit (points by default)")
    behind: str = Field(description="the authors' runs behind it, as far as known")
    type: Kind = Field(description="what kind of claim it is")
    test: dict[str, Any] | None = Field(description="statistic, variants and their parameters; or nothing")
    scale: str = Field(description="the smallest scale at which the test means something")
    needs: Annotated[list[Need], Field(min_length=1)] = Field(description="what images and nets it needs")
    computed: list[str] = Field([], description="facts that stand beside")
    caveat: str = Field(description="what to keep in mind")


@dataclass(frozen=True)
class Claim:
    id: str
    entry: Entry
    published: tuple[Number, ...]
    test: Test | None

    @property
    def needs(self) -> list[Need]:
        return self.entry.needs


def load_claims(path: Path) -> dict[str, Claim]:
    """Read and check a file of claims, in its order. Raises `UserError`: one line with file, claim, key."""
    values = read_yaml(path)
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path}: got {type(values).__name__}; a mapping from a claim's id to its keys is allowed")
    return {str(key): _claim(str(key), value, f"{path}: {key}") for key, value in values.items()}


def claims_of(study: Study, root: Path) -> dict[str, Claim]:
    """The claims that a study names, below `root`; none where it names none. Raises `UserError`.

    It refuses a study that lacks a variant which a claim requires, before anything runs.
    """
    if not study.file.claims:
        return {}
    file = root / study.file.claims
    claims = load_claims(file)
    check_claims(claims, file, study.name, study.variants)
    return claims


def missing(claim: Claim, declared: Mapping[str, object]) -> list[str]:
    """Variants that a claim's test needs and that are not among the declared ones."""
    return [name for name in claim.test.names if name not in declared] if claim.test else []


def check_claims(claims: Mapping[str, Claim], path: Path, study: str, declared: Mapping[str, object]) -> None:
    """Refuse a study that lacks a variant which a claim requires. Raises `UserError`, before anything runs."""
    for claim in claims.values():
        lacking = missing(claim, declared)
        if lacking and claim.test and claim.test.required:
            raise UserError(
                f"{path}: {claim.id}: test: requires {', '.join(lacking)}, which study {study} lacks; allowed: "
                f"{', '.join(declared)}, or required: false"
            )


def _claim(key: str, value: Any, where: str) -> Claim:
    if not ID.fullmatch(key):
        raise UserError(f"{where}: not an id of a claim; allowed: like C01, C12c or A1")
    if isinstance(value, dict):
        _shapes(value, where)
    entry = parse(Entry, value, where)
    for fact in entry.computed:
        _known(fact, FACTS, f"{where}: computed")
    published = tuple(parse(Number, number, f"{where}: published") for number in entry.published)
    return Claim(key, entry, published, None if entry.test is None else _test(entry.test, f"{where}: test"))


def _shapes(value: dict[str, Any], where: str) -> None:
    # The declared types of these two would read like code in a message.
    if "test" in value and not isinstance(value["test"], dict | None):
        raise UserError(f"{where}: test: got {value['test']!r}; a mapping with a statistic, or nothing, is allowed")
    numbers = value.get("published", [])
    if not isinstance(numbers, list) or not all(isinstance(number, dict) for number in numbers):
        raise UserError(f"{where}: published: got {numbers!r}; a list of {{name, value, unit}} is allowed")


def _test(value: dict[str, Any], where: str) -> Test:
    name = value.get("statistic")
    if not isinstance(name, str):
        raise UserError(f"{where}: statistic: got {name!r}; allowed: {', '.join(TESTS)}")
    test = parse(TESTS[_known(name, TESTS, f"{where}: statistic")], value, where)
    if isinstance(test, ArithmeticTest):
        _known(test.fact, FACTS, f"{where}: fact")
    elif not test.variants:
        raise UserError(f"{where}: variants: got none; {name} needs at least one")
    repeated = [variant for variant in test.names if test.names.count(variant) > 1]
    if repeated:
        raise UserError(f"{where}: variants: {repeated[0]} is a duplicate")
    return test


def _known(name: str, names: Mapping[str, object], where: str) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"{where}: got {name!r}{hint or '; allowed: ' + ', '.join(names)}")
    return name
