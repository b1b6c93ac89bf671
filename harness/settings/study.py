"""A study: its file, the runs that it declares, and where their results lie."""

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.errors import UserError
from harness.files import hash_json, read_json, read_yaml
from harness.settings.parse import parse
from harness.settings.plan import Plan, expand, merged
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Declared, Settings

DEFAULT = Path("experiments/study.yaml")
"""The default study: that of dvc.yaml at the root."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""Names of studies and variants: they name files, DVC stages and MLflow runs (a dot would break the second)."""


class Published(Declared):
    """What the paper says that a variant's switch changes: percentage points of top-1 error, variant less baseline."""

    top1: float = Field(description="difference of the top-1 error in points, variant less baseline")
    where: str = Field(description="where the paper says so")


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
    metric: Literal[
        "test_top1",
        "test_top1_10crop",
        "test_top1_mc_geometric",
        "test_top1_mc_arithmetic",
        "validation_top1",
        "train_top1",
    ] = Field("test_top1", description="the error that is compared, of one evaluation of the same trained nets")
    confidence: float = Field(0.95, gt=0.5, lt=1.0, description="of the intervals")
    alpha: float | None = Field(None, gt=0.0, lt=0.5, description="family-wise error of the verdicts: 1 - confidence")
    margin: float | None = Field(
        None, gt=0.0, description="differences surely below this many points count as equivalent; none: nothing does"
    )
    family: list[str] | None = Field(None, description="variants that are compared together; by default all")
    test: Literal["block", "paired_t", "moderated", "sign_flip"] = Field(
        "block", description="what the verdicts rest on: see reports/method.md"
    )
    looks: list[Annotated[int, Field(ge=2)]] = Field(
        [], description="numbers of seeds at which verdicts may be looked at, the full number last; none: at the end"
    )
    published: dict[str, Any] = Field({}, description="what the paper says of a variant: {top1, where}")
    ensembles: list[str] = Field(
        [], description="variants whose nets of all seeds are also averaged; a+b: the nets of both together"
    )
    claims: str | None = Field(None, description="file of the paper's claims that the report sets beside the results")
    limit: int = Field(500, ge=1, description="largest number of runs that the plan may come to")
    defaults: Any = Field(None, description="a place for anchors; not read")
    settings: dict[str, Any] = Field({}, description="settings of every variant, and of the baseline")
    factors: dict[str, dict[str, Any]] = Field({}, description="name -> settings: switches off the baseline")
    plan: list[dict[str, Any]] = Field([], description="how the factors make variants: see Plan")
    variants: dict[str, Any] = Field(
        {}, description="name -> settings, over `settings`, or with a preset by themselves"
    )


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

    @property
    def alpha(self) -> float:
        """Family-wise error of the verdicts, over all looks."""
        return round(1 - self.file.confidence, 12) if self.file.alpha is None else self.file.alpha

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
    def resolved(self) -> Path:
        """Folder of the resolved settings of every variant, relative to the repository: what the runs depend on."""
        return self.path.parent / "resolved"

    @property
    def pipeline(self) -> Path:
        """The DVC file that runs the study: its own beside it, or the one at the root for the default study."""
        return Path("dvc.yaml") if self.is_default else self.path.parent / "dvc.yaml"

    @property
    def is_default(self) -> bool:
        """Whether this is the study of the root's pipeline, beside which the candidate runs."""
        return self.path.parent.name == DEFAULT.parent.name and self.path.name == DEFAULT.name

    @property
    def packed(self) -> Path:
        """Folder of the packed images, relative to the repository."""
        return Path("data") / self.name

    @property
    def candidate_results(self) -> Path:
        return self.folder / "candidate"

    @property
    def statement(self) -> dict[str, Any]:
        """What is declared before the runs: seeds, metric, rules of the verdicts, images and the settings compared.

        Of images and settings it has what is not the schema's default: a setting that the schema gains later declares
        nothing new.
        """
        return {
            "seeds": self.seeds,
            "looks": self.file.looks,
            "metric": self.file.metric,
            "baseline": self.baseline,
            "confidence": self.file.confidence,
            "margin": self.file.margin,
            "family": self.file.family,
            "test": self.file.test,
            "data": self.data.model_dump(exclude_defaults=True),
            "variants": {name: s.model_dump(exclude_defaults=True) for name, s in self.variants.items()},
        }

    @property
    def declaration(self) -> str:
        """Hash of the statement."""
        return hash_json(self.statement)

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
    return parse(Settings, _flat(values, where), where)


def _flat(values: Any, where: str) -> dict[str, Any]:
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
    return merged | own


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
    """Settings named on the command line: `FILE.json` (resolved), `FILE` (the candidate's) or `FILE:variants.NAME`.

    Raises `UserError`.
    """
    file, _, key = spec.partition(":")
    if not key:
        if file.endswith(".json"):
            return parse(Settings, read_json(Path(file)), file)
        return load_candidate(Path(file))[0]
    study = load_study(Path(file))
    group, _, name = key.partition(".")
    if group != "variants" or name not in study.variants:
        raise UserError(
            f"{file}: {key}: no such variant; allowed: {', '.join(f'variants.{v}' for v in study.variants)}"
        )
    return study.variants[name]


def load_data(path: Path) -> DataSettings:
    """Resolved settings of a study's images. Raises `UserError`."""
    return parse(DataSettings, read_json(path), str(path))


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises `UserError` with one line: file, key, what was found, what is allowed."""
    file = parse(StudyFile, _extended(path), str(path))
    data = parse(DataSettings, file.data, f"{path}: data")
    for seed in file.seeds:
        if file.seeds.count(seed) > 1:
            raise UserError(f"{path}: seeds: {seed} stands twice; each seed is allowed once")
    variants = _variants(file, path)
    if file.baseline not in variants:
        raise UserError(f"{path}: baseline: got {file.baseline!r}; allowed: {', '.join(variants)}")
    if file.alpha is not None and abs(file.alpha - (1 - file.confidence)) > 1e-9:
        raise UserError(
            f"{path}: alpha: got {file.alpha:g}, but confidence is {file.confidence:g}; interval and verdict share it: "
            f"allowed: {1 - file.confidence:g}, or nothing"
        )
    for name in file.family or []:
        if name not in variants or name == file.baseline:
            others = [other for other in variants if other != file.baseline]
            raise UserError(f"{path}: family: got {name!r}; allowed: {', '.join(others)}")
    if file.looks and (len(file.looks) < 2 or sorted(set(file.looks)) != file.looks):
        raise UserError(f"{path}: looks: got {file.looks}; allowed: two or more numbers of seeds, rising")
    if file.looks and len(file.seeds) not in file.looks:
        raise UserError(
            f"{path}: looks: got {file.looks}, but {len(file.seeds)} seeds are named; allowed: as many as one look has"
        )
    for name in file.ensembles:
        if not set(name.split("+")) <= set(variants):
            raise UserError(f"{path}: ensembles: got {name!r}; allowed: {', '.join(variants)}, and sums of them as a+b")
    for name in file.published:
        if name not in variants:
            raise UserError(f"{path}: published.{name}: no such variant; allowed: {', '.join(variants)}")
    if len(variants) * len(file.seeds) > file.limit:
        raise UserError(
            f"{path}: limit: got {len(variants)} variants x {len(file.seeds)} seeds = "
            f"{len(variants) * len(file.seeds)} runs; allowed: at most {file.limit}"
        )
    return Study(
        path,
        file,
        data,
        {name: parse(Settings, merged(layers), f"{path}: variants.{name}") for name, layers in variants.items()},
        {name: parse(Published, values, f"{path}: published.{name}") for name, values in file.published.items()},
    )


INHERITED = (
    "data", "seeds", "baseline", "metric", "confidence", "alpha", "margin", "test", "looks", "published", "claims",
    "settings", "factors",
)  # fmt: skip
"""Keys that a study takes from the one that it extends. Those below are laid over the other's, the rest replace it."""

LAID_OVER = ("settings", "factors", "data")


def lineage(path: Path) -> list[Path]:
    """A study's file, and those that it extends, nearest first. Raises `UserError`."""
    return [file for file, _ in _lineage(path)]


def _lineage(path: Path) -> list[tuple[Path, Any]]:
    """The files of `lineage`, each with its content."""
    found = [(path, read_yaml(path))]
    while True:
        file, values = found[-1]
        parent = values.get("extends") if isinstance(values, dict) else None
        if not isinstance(parent, str) or not parent:
            return found
        # Written without `..`, as DVC and a reader would name it.
        next_file = Path(os.path.normpath(file.parent / parent))
        if next_file.resolve() in [one.resolve() for one, _ in found]:
            raise UserError(f"{file}: extends: got {parent!r}, which extends this file; a circle is not allowed")
        found.append((next_file, read_yaml(next_file)))


def _extended(path: Path) -> Any:
    """The content of a study file over that of the studies that it extends."""
    (file, whole), *nearer = reversed(_lineage(path))
    for child, values in nearer:
        if not isinstance(whole, dict):
            raise UserError(f"{child}: extends: {file} is not a study's file")
        taken = {key: whole[key] for key in INHERITED if key in whole}
        laid = {
            key: taken[key] | values[key]
            for key in LAID_OVER
            if isinstance(taken.get(key), dict) and isinstance(values.get(key), dict)
        }
        file, whole = child, taken | values | laid
    return whole


def _variants(file: StudyFile, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every variant's layers of settings: the study's own, then those of its factors."""
    common = _flat(file.settings, f"{path}: settings")
    factors = {name: _flat(values, f"{path}: factors.{name}") for name, values in file.factors.items()}
    found: dict[str, list[dict[str, Any]]] = {}
    if file.plan and file.baseline not in file.variants:
        found[file.baseline] = [common]
    for number, values in enumerate(file.plan):
        where = f"{path}: plan.{number}"
        for name, layers in expand(parse(Plan, values, where), factors, where).items():
            if found.setdefault(name, [common, *layers]) != [common, *layers]:
                raise UserError(f"{where}: gives {name} other settings than a step before; each name is allowed once")
    for name, values in file.variants.items():
        if name in found:
            raise UserError(f"{path}: variants.{name}: is a variant of the plan, too; take another name")
        own = _flat(values, f"{path}: variants.{name}")
        found[name] = [own] if "preset" in values else [common, own]
    if not found:
        raise UserError(f"{path}: variants: got none; at least the baseline is needed")
    for name in found:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(
                f"{path}: variants.{name}: a name has small letters, digits, - and _ alone (no dot), at most 63"
            )
    if "candidate" in found:
        raise UserError(f"{path}: variants.candidate: the name is kept for the run of params.yaml; take another")
    return found
