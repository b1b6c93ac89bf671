"""A study: its file, the runs that it declares, and where their results lie."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from harness.files import hash_json
from harness.grammar import counted
from harness.settings.plan import Plan
from harness.settings.schema import LATER, MACHINE, DataSettings, Declared, Settings, sparse

DEFAULT = Path("experiments/study.yaml")
"""The default study: that of dvc.yaml at the root."""


def is_root(folder: Path) -> bool:
    """Whether a folder, whose path is absolute, is a repository's root: the default study is there.

    The study folder experiments/experiments makes no root of the folder that it lies in.
    """
    nested = folder.name == DEFAULT.parent.name and (folder / DEFAULT.name).is_file()
    return (folder / DEFAULT).is_file() and not nested


CANDIDATE = Path("params.yaml")
"""The candidate, which runs beside the default study."""

CHECKED = "checked.json"
"""File beside a study's that `harness check` writes."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Names of studies and variants: they name files, DVC stages and MLflow runs (a dot would break the second)."""

TOP5_CLASSES = 10
"""With fewer classes than this a top-5 error says nothing: evaluation leaves it out."""


def top_of(metric: str) -> int:
    """How many classes an answer names to be right by an error: 5 for a top-5 error, 1 for the others."""
    return 5 if "top5" in metric else 1


Error = Literal[
    "test_top1", "test_top1_10crop", "test_top1_mc_geometric", "test_top1_mc_arithmetic", "test_top5",
    "test_top5_10crop", "validation_top1", "train_top1",
]  # fmt: skip
"""Errors that a study may compare, of one evaluation of the same trained nets."""


OWN = re.compile(r"(?!(test|train|validation|conv1|fc7|pixels)_|gap$)[a-z][a-z0-9_]*")
"""Names of a study's own metrics: none that evaluation gives a number."""


class Published(Declared):
    """What the paper says that a variant's switch changes, in percentage points of error, variant less baseline."""

    top1: float | None = Field(None, description="difference of the top-1 error in points, variant less baseline")
    top5: float | None = Field(None, description="the same of the top-5 error")
    where: str = Field(description="where the paper says so")

    @model_validator(mode="after")
    def _has_a_number(self) -> "Published":
        if self.top1 is None and self.top5 is None:
            raise ValueError("top1, top5: got neither; allowed: a number for one of them or for both")
        return self

    def of(self, metric: str) -> float | None:
        """The difference of the error that a study compares; None where the paper's is not given."""
        return self.top5 if top_of(metric) == 5 else self.top1


class StudyFile(Declared):
    """The keys of a study file."""

    name: str = Field(description="names the report: reports/NAME.md", pattern=f"^{NAME.pattern}$")
    extends: str = Field("", description="another study's file, beside this one: its keys are this one's defaults")
    title: str = Field(description="the report's title")
    purpose: str = Field(description="the question, in one or two sentences")
    data: dict[str, Any] = Field(description="the images: see DataSettings")
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = Field(
        description="every variant runs with each of these"
    )
    baseline: str = Field("base", description="the variant that the others are compared with")
    metric: Error | str = Field("test_top1", description="the error that is compared, or one of `metrics`")
    metrics: dict[str, str] = Field(
        {}, description="own errors in percent: name -> Python file with a function of that name, of the predictions"
    )
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the intervals")
    alpha: float | None = Field(None, gt=0.0, lt=0.5, description="family-wise error of the verdicts: 1 - confidence")
    margin: float | None = Field(
        None, gt=0.0, description="differences surely below this many points count as equivalent; none: nothing does"
    )
    family: list[str] | None = Field(None, description="variants that are compared together; by default all")
    test: Literal["block", "paired_t"] = Field("block", description="what the verdicts rest on: see reports/method.md")
    looks: list[Annotated[int, Field(ge=2)]] = Field(
        [], description="numbers of seeds at which verdicts may be looked at, the full number last; none: at the end"
    )
    published: dict[str, Published] = Field({}, description="what the paper says of a variant: {top1, top5, where}")
    components: dict[str, str] = Field(
        {}, description="variant -> the component that it takes out of the baseline; `+NAME`: that it adds to it"
    )
    ensembles: list[str] = Field(
        [], description="variants whose nets of all seeds are also averaged; a+b: the nets of both together"
    )
    claims: str | None = Field(None, description="file of the paper's claims that the report sets beside the results")
    weights: Literal["cache", "dvc"] = Field(
        "cache", description="cache: weights lie in runs/ alone; dvc: `dvc push` and `dvc pull` carry them, too"
    )
    limit: int = Field(500, ge=1, description="largest number of runs that the plan may come to")
    defaults: Any = Field(None, description="a place for anchors; not read")
    settings: dict[str, Any] = Field({}, description="settings of every variant, and of the baseline")
    factors: dict[str, dict[str, Any]] = Field({}, description="name -> settings: switches off the baseline")
    plan: list[Plan] = Field([], description="how the factors make variants: see Plan")
    variants: dict[str, Any] = Field(
        {}, description="name -> settings, over `settings`, or with a preset by themselves"
    )

    @model_validator(mode="after")
    def _agrees(self) -> "StudyFile":
        for name in self.metrics:
            if not OWN.fullmatch(name):
                raise ValueError(f"metrics: got the name {name!r}; allowed: a-z, 0-9, _, and none as test_top1 or gap")
        if self.metric not in (*get_args(Error), *self.metrics):
            allowed = ", ".join((*get_args(Error), *self.metrics))
            raise ValueError(f"metric: got {self.metric!r}; allowed: {allowed}, or a name under `metrics`")
        for seed in self.seeds:
            if self.seeds.count(seed) > 1:
                raise ValueError(f"seeds: {seed} is a duplicate")
        if self.alpha is not None and abs(self.alpha - (1 - self.confidence)) > 1e-9:
            raise ValueError(
                f"alpha: got {self.alpha:g}, but confidence is {self.confidence:g}; interval and verdict share it: "
                f"allowed: {1 - self.confidence:g}, or nothing"
            )
        if self.looks and (len(self.looks) < 2 or sorted(set(self.looks)) != self.looks):
            raise ValueError(f"looks: got {self.looks}; allowed: two or more numbers of seeds, rising")
        if self.looks and len(self.seeds) not in self.looks:
            got = f"{self.looks} and {counted(len(self.seeds), 'seed')}"
            raise ValueError(f"looks: got {got}; allowed: as many seeds as one look has")
        return self


@dataclass(frozen=True)
class Cell:
    """One run of a study: a variant with a seed."""

    study: str
    variant: str
    seed: int

    @property
    def key(self) -> str:
        """The cell's name in DVC (`train@KEY`), in folders and in MLflow."""
        return f"{self.variant}-{self.seed}"

    @property
    def results(self) -> Path:
        """Folder of the run's records, relative to the repository: see `record.RunFolder.of`."""
        return Path("reports") / self.study / "runs" / self.key


@dataclass(frozen=True)
class Component:
    """What a variant takes out of the baseline or, if `added`, what it has and the baseline lacks."""

    label: str
    added: bool

    @classmethod
    def of(cls, text: str) -> "Component":
        return cls(text.removeprefix("+").strip(), text.startswith("+"))


@dataclass(frozen=True)
class Study:
    """A checked study file."""

    path: Path
    file: StudyFile
    data: DataSettings
    variants: dict[str, Settings]
    published: dict[str, Published]
    components: dict[str, Component]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def baseline(self) -> str:
        return self.file.baseline

    @property
    def seeds(self) -> list[int]:
        return self.file.seeds

    @property
    def alpha(self) -> float:
        """Family-wise error of the verdicts, over all looks."""
        return self.file.alpha or round(1 - self.file.confidence, 12)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every declared run, variant by variant in the order of the file, seeds in theirs."""
        return [Cell(self.name, variant, seed) for variant in self.variants for seed in self.seeds]

    @property
    def folder(self) -> Path:
        """Folder of the report's tables, figures and cells, relative to the repository."""
        return Path("reports") / self.name

    @property
    def report(self) -> Path:
        return Path("reports") / f"{self.name}.md"

    @property
    def html(self) -> Path:
        """The report's first page with its figures and runs, as one file that needs no other."""
        return Path("reports") / f"{self.name}.html"

    @property
    def summary(self) -> Path:
        """What the index of all reports says of the study."""
        return self.folder / "summary.json"

    @property
    def index(self) -> Path:
        """The index of all reports."""
        return self.report.with_name("README.md")

    @property
    def checked(self) -> Path:
        """What `harness check` leaves: hashes of the runs' settings and of the code, on which the stages depend."""
        return self.path.parent / CHECKED

    @property
    def is_default(self) -> bool:
        """Whether this is the study of the root's pipeline, beside which the candidate runs."""
        path = Path(os.path.abspath(self.path))
        return path.parts[-2:] == DEFAULT.parts and is_root(path.parents[1])

    @property
    def manifest(self) -> Path:
        """What the study's images are, relative to the repository; the arrays lie in a cache: see `data.store`."""
        return self.folder / "data.json"

    @property
    def candidate_results(self) -> Path:
        return self.folder / "candidate"

    @property
    def shared_weights(self) -> Path:
        """What DVC keeps of the weights of its runs, where the study says so: see `harness.pipeline.remote`."""
        return Path("weights") / f"{self.name}.dvc"

    @property
    def statement(self) -> dict[str, Any]:
        """What is declared before the runs: seeds, metric, rules of the verdicts, images and the settings compared.

        Of images and settings it has what is not the schema's default.
        """
        return {
            "seeds": self.seeds,
            "looks": self.file.looks,
            "metric": self.file.metric,
            **({"metrics": self.file.metrics} if self.file.metrics else {}),
            "baseline": self.baseline,
            "confidence": self.file.confidence,
            "margin": self.file.margin,
            "family": self.file.family,
            "test": self.file.test,
            "data": self.data.model_dump(exclude_defaults=True),
            "variants": {name: _stated(settings) for name, settings in self.variants.items()},
        }

    @property
    def declaration(self) -> str:
        """Hash of the statement."""
        return hash_json(self.statement)

    def differences(self, variant: str) -> dict[str, tuple[Any, Any]]:
        """Settings in which a variant differs from the baseline: name -> (baseline's, variant's)."""
        return differences(self.variants[self.baseline], self.variants[variant])


def _stated(settings: Settings) -> dict[str, Any]:
    """What a study states of a variant's settings: what is not at the default, or not as before the setting was there.

    So a setting that the schema gains later states nothing new of a study that was declared before.
    """
    fields = Settings.model_fields
    return {k: v for k, v in sparse(settings).items() if k in LATER or v != fields[k].get_default()}


def differences(one: Settings, other: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings in which two runs differ: name -> (one's, other's)."""
    pairs = {name: (getattr(one, name), getattr(other, name)) for name in Settings.model_fields}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def unequal(declared: Settings, stored: dict[str, Any]) -> list[str]:
    """Settings in which a stored run is not the declared one: none, when they are equal.

    Where it is computed does not count, as in the fingerprint; `classes` may be left to the data.
    """
    ignored = {*MACHINE, *(["classes"] if declared.classes is None else [])}
    return [name for name in changed(sparse(declared), stored) if name not in ignored]


def changed(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of the settings that are not the same in two stored runs, sorted."""
    absent = object()
    return sorted(key for key in one.keys() | other.keys() if one.get(key, absent) != other.get(key, absent))
