"""What a claim of the paper is: its words, its numbers, and what tests it. Read from a file and checked."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.claims.facts import BESIDE
from harness.claims.finding import ArithmeticTest, Test
from harness.claims.statistic import TESTS, DifferenceTest
from harness.errors import UserError
from harness.files import read_yaml
from harness.settings.parse import parse
from harness.settings.schema import Declared
from harness.settings.study import Study
from harness.shipped import found

Need = Literal[
    "colour", "imagenet", "ilsvrc2010", "fall2009", "fall2011", "hardware_2012", "overfitting", "any"
]  # fmt: skip
Kind = Literal["arithmetic", "difference", "ratio", "ranking", "curve", "qualitative", "timing", "constant"]


class Number(Declared):
    name: str = Field(description="what it is")
    value: float = Field(description="the number as printed")
    unit: str = Field("points", description="points of error, or another unit")
    tested: bool = Field(False, description="the test's number is an estimate of this one")


class Claim(Declared):
    """C: a claim of the paper's text; A: a point in which its authors' run may differ from the text.

    A claim whose variants a study lacks is not testable there.
    """

    id: str = Field(pattern=r"^(C\d\d[a-z]?|A\d{1,2})$", description="its key in the file")
    section: str = Field(description="section of the paper")
    claim: str = Field(description="the claim, in a sentence of our own")
    published: list[Number] = Field(description="the paper's numbers")
    behind: str = Field(description="the authors' runs behind it, as far as known")
    type: Kind = Field(description="what kind of claim it is")
    test: Test | ArithmeticTest | None = Field(description="statistic, variants and their parameters; or nothing")
    scale: str = Field(description="the smallest scale at which the test means something")
    needs: Annotated[list[Need], Field(min_length=1)] = Field(description="what images and nets it needs")
    computed: list[str] = Field([], description="facts that stand beside")
    caveat: str = Field(description="what to keep in mind")

    @model_validator(mode="after")
    def _consistent(self) -> "Claim":
        if unknown := [fact for fact in self.computed if fact not in BESIDE]:
            raise ValueError(f"computed: got {unknown[0]!r}; allowed: {', '.join(BESIDE)}")
        if "overfitting" in self.needs and not isinstance(self.test, DifferenceTest):
            raise ValueError("needs: got overfitting; a claim whose statistic is difference may need it")
        return self

    @property
    def stated(self) -> bool:
        """Whether the paper states it; other rows are on its authors' run (A), or go beyond it."""
        return self.id.startswith("C") and self.section != "not in the paper"


def load_claims(path: Path) -> dict[str, Claim]:
    """Read and check a file of claims, in its order. Raises `UserError`: one line with file, claim, key."""
    values = read_yaml(path)
    if not isinstance(values, dict) or not values:
        raise UserError(f"{path}: got {type(values).__name__}; a mapping from a claim's id to its keys is allowed")
    return {str(key): _claim(str(key), value, f"{path}: {key}") for key, value in values.items()}


def _claim(key: str, value: Any, where: str) -> Claim:
    if not isinstance(value, dict) or not isinstance(value.get("test"), dict):
        return parse(Claim, value | {"id": key} if isinstance(value, dict) else value, where)
    name = value["test"].get("statistic")
    if not isinstance(name, str) or name not in TESTS:
        near = difflib.get_close_matches(str(name), TESTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(TESTS)}"
        raise UserError(f"{where}: test: statistic: got {name!r}; {hint}")
    return parse(Claim, value | {"id": key, "test": parse(TESTS[name], value["test"], f"{where}: test")}, where)


def claims_of(study: Study, root: Path) -> dict[str, Claim]:
    """The claims that a study names, below `root` or in the package; none where it names none. Raises `UserError`."""
    return load_claims(found(Path(study.file.claims), root)) if study.file.claims else {}
