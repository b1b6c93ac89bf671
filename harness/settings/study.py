"""A study: its file, the runs that it declares, and where their results lie."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.errors import UserError
from harness.files import hash_json, read_yaml
from harness.settings.parse import parse
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Declared, Settings

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Names of studies and variants: they name files, DVC stages and MLflow runs (a dot would break the second)."""


class Published(Declared):
    """What the paper says that a variant's switch changes: percentage points of top-1 error, variant less baseline."""

    top1: float = Field(description="difference of the top-1 error in points, variant less baseline")
    where: str = Field(description="where the paper says so")


class StudyFile(Declared):
    """The keys of a study file."""

    name: str = Field(description="names the report: reports/NAME.md", pattern=f"^{NAME.pattern}$")
    title: str = Field(description="the report's title")
    purpose: str = Field(description="the question, in one or two sentences")
    data: dict[str, Any] = Field(description="the images: see DataSettings")
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1)] = Field(
        description="every variant runs with each of these"
    )
    baseline: str = Field("base", description="the variant that the others are compared with")
    metric: Literal["test_top1", "test_top1_10crop"] = Field("test_top1", description="the error that is compared")
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the intervals")
    published: dict[str, Any] = Field({}, description="what the paper says of a variant: {top1, where}")
    defaults: Any = Field(None, description="a place for anchors; not read")
    variants: dict[str, Any] = Field(description="name -> settings, each one run a seed")


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
        """Folder of the cell's evaluation, relative to the repository."""
        return Path("reports") / self.study / "cells" / self.key


@dataclass(frozen=True)
class Study:
    """A checked study file."""

    path: Path
    file: StudyFile
    data: DataSettings
    variants: dict[str, Settings]
    published: dict[str, Published]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def baseline(self) -> str:
        return self.file.baseline

    @property
    def seeds(self) -> list[int]:
        return self.file.seeds

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
    def packed(self) -> Path:
        """Folder of the packed images, relative to the repository."""
        return Path("data") / self.name

    @property
    def candidate_results(self) -> Path:
        return self.folder / "candidate"

    @property
    def declaration(self) -> str:
        """Hash of what was declared before the runs: seeds, metric, baseline, confidence and the settings compared."""
        return hash_json(
            {
                "seeds": self.seeds,
                "metric": self.file.metric,
                "baseline": self.baseline,
                "confidence": self.file.confidence,
                "data": self.data.model_dump(),
                "variants": {name: settings.model_dump() for name, settings in self.variants.items()},
            }
        )

    def differences(self, variant: str) -> dict[str, tuple[Any, Any]]:
        """Settings in which a variant differs from the baseline: name -> (baseline's, variant's)."""
        return differences(self.variants[self.baseline], self.variants[variant])


def differences(one: Settings, other: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings in which two runs differ: name -> (one's, other's)."""
    a, b = one.model_dump(), other.model_dump()
    return {key: (a[key], b[key]) for key in a if a[key] != b[key]}


def resolve(values: Any, where: str) -> Settings:
    """Settings from a mapping: the schema's defaults, then the presets named under `preset`, then the other keys.

    `where` names the file and place. Raises `UserError`.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: got {values!r}; a mapping of settings is allowed")
    own = dict(values)
    named = own.pop("preset", [])
    names = named if isinstance(named, list) else [named]
    merged: dict[str, Any] = {}
    for name in names:
        if not isinstance(name, str) or name not in PRESETS:
            raise UserError(f"{where}: preset: got {name!r}; allowed: {', '.join(PRESETS)}")
        merged |= PRESETS[name]
    return parse(Settings, merged | own, where)


def load_candidate(path: Path) -> tuple[Settings, int]:
    """The candidate of params.yaml: its settings and its seed. Raises `UserError`."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: got {type(values).__name__}; a mapping of settings is allowed")
    own = dict(values)
    seed = own.pop("seed", None)
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(f"{path}: seed: got {seed!r}; allowed: a whole number >= 0 and < {2**31}")
    return resolve(own, str(path)), seed


def load_run(spec: str) -> Settings:
    """Settings named on the command line: `FILE` (the candidate's) or `FILE:variants.NAME`. Raises `UserError`."""
    file, _, key = spec.partition(":")
    if not key:
        return load_candidate(Path(file))[0]
    study = load_study(Path(file))
    group, _, name = key.partition(".")
    if group != "variants" or name not in study.variants:
        raise UserError(
            f"{file}: {key}: no such variant; allowed: {', '.join(f'variants.{v}' for v in study.variants)}"
        )
    return study.variants[name]


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises `UserError` with one line: file, key, what was found, what is allowed."""
    file = parse(StudyFile, read_yaml(path), str(path))
    data = parse(DataSettings, file.data, f"{path}: data")
    for seed in file.seeds:
        if file.seeds.count(seed) > 1:
            raise UserError(f"{path}: seeds: {seed} stands twice; each seed is allowed once")
    if not file.variants:
        raise UserError(f"{path}: variants: got none; at least the baseline is needed")
    for name in file.variants:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(f"{path}: variants.{name}: a name has small letters, digits, - and _ alone (no dot)")
    if "candidate" in file.variants:
        raise UserError(f"{path}: variants.candidate: the name is kept for the run of params.yaml; take another")
    if file.baseline not in file.variants:
        raise UserError(f"{path}: baseline: got {file.baseline!r}; allowed: {', '.join(file.variants)}")
    for name in file.published:
        if name not in file.variants:
            raise UserError(f"{path}: published.{name}: no such variant; allowed: {', '.join(file.variants)}")
    return Study(
        path,
        file,
        data,
        {name: resolve(values, f"{path}: variants.{name}") for name, values in file.variants.items()},
        {name: parse(Published, values, f"{path}: published.{name}") for name, values in file.published.items()},
    )
