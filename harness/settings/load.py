"""Finding and reading settings and studies: presets resolved, what a study extends laid under it, its plan expanded."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import read_json, read_yaml
from harness.grammar import counted, product
from harness.settings.parse import parse
from harness.settings.plan import Plan, expand, merged
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Settings
from harness.settings.study import CANDIDATE, DEFAULT, NAME, Component, Published, Study, StudyFile


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
        raise UserError(f"{path}: seed: got {seed!r}; allowed: an integer >= 0 and < {2**31}")
    return resolve(own, str(path)), seed


@dataclass(frozen=True)
class Named:
    """A run as it is named on the command line: its settings, and where it belongs.

    `study`: the study whose images it sees, None where it belongs to none; `variant`: of that study, None for the
    candidate.
    """

    settings: Settings
    study: Study | None = None
    variant: str | None = None
    seed: int | None = None


FILES = (".json", ".yaml", ".yml")


def load_run(spec: str) -> Named:
    """The run that `spec` names: `[STUDY:]VARIANT[-SEED]`, `params.yaml` (the candidate), or a file of settings.

    STUDY is whatever `find_study` takes; without it, the default study. Raises `UserError`.
    """
    place, _, key = spec.rpartition(":")
    path = Path(spec)
    if place or path.suffix not in FILES:
        return _declared(load_study(find_study(Path(place) if place else DEFAULT)), key)
    if path.suffix == ".json":
        return Named(parse(Settings, read_json(path), spec))
    values = read_yaml(path)
    if isinstance(values, dict) and values.keys() & {"variants", "plan", "extends"}:
        raise UserError(f"{spec}: got a study; allowed: one of its runs, as {spec}:VARIANT-SEED")
    settings, seed = load_candidate(path)
    beside = path.parent / DEFAULT
    is_candidate = path.name == CANDIDATE.name and os.path.isfile(beside)
    return Named(settings, load_study(beside) if is_candidate else None, None, seed)


def _declared(study: Study, key: str) -> Named:
    if key in study.variants:
        return Named(study.variants[key], study, key)
    variant, _, seed = key.rpartition("-")
    if variant in study.variants and seed.isascii() and seed.isdigit():
        return Named(study.variants[variant], study, variant, int(seed))
    raise UserError(
        f"{study.path}: got {key!r}; allowed: a variant, or a variant and a seed: {', '.join(study.variants)}"
    )


def find_study(target: Path, root: Path = Path(".")) -> Path:
    """The file of the study that `target` names: the file itself, its folder, its name, its report or report's folder.

    What is a file, or is called like one, is taken as it is. Raises `UserError` with the studies that there are.
    """
    path = root / target
    if target.suffix in (".yaml", ".yml", ".json") or (os.path.isfile(path) and target.suffix != ".md"):
        return path
    if os.path.isfile(path / DEFAULT.name):
        return path / DEFAULT.name
    name = target.stem if target.suffix == ".md" else target.name
    known = declared_names(root)
    plain = root / DEFAULT.parent / f"{name}.yaml"
    if os.path.isfile(plain) and declared_name(plain) == name:
        known[plain] = name
    # Elsewhere a folder of that name is another thing.
    here = path.parent.resolve() in (root.resolve(), (root / "reports").resolve())
    found = [file for file, declared in known.items() if declared == name and here]
    if len(found) > 1:
        raise UserError(f"{target}: the name of {len(found)} studies; allowed: {', '.join(map(str, found))}")
    if not found:
        names = ", ".join(sorted(known.values())) or "none is declared"
        raise UserError(f"{target}: no study of that name; allowed: {names}, or a study's file, folder or report")
    return found[0]


def declared_names(root: Path = Path(".")) -> dict[Path, str]:
    """The files of the studies below experiments/, each with its name; those without one are left out."""
    files = sorted((root / DEFAULT.parent).rglob(DEFAULT.name))
    return {file: name for file in files if file.is_file() and (name := declared_name(file))}


def declared_name(file: Path) -> str | None:
    """The name that a study's file gives. Not read as YAML: a draft may be broken."""
    found = re.search(r"^name:[ \t]*(\S+)", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    return found[1].strip("'\"") if found else None


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises `UserError` with one line: file, key, what was found, what is allowed."""
    values, own = _extended(path)
    file = parse(StudyFile, values, str(path))
    data = parse(DataSettings, file.data, f"{path}: data")
    for seed in file.seeds:
        if file.seeds.count(seed) > 1:
            raise UserError(f"{path}: seeds: {seed} is a duplicate")
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
            f"{path}: looks: got {file.looks} and {counted(len(file.seeds), 'seed')}; "
            "allowed: as many seeds as one look has"
        )
    for name in file.ensembles:
        if not set(name.split("+")) <= set(variants):
            raise UserError(f"{path}: ensembles: got {name!r}; allowed: {', '.join(variants)}, and sums of them as a+b")
    # A variant that this study lacks was named by the study that it extends.
    named = {
        key: {name: value for name, value in getattr(file, key).items() if name in own.get(key, {}) or name in variants}
        for key in ("published", "components")
    }
    for key, name in ((key, name) for key, names in named.items() for name in names):
        if name not in variants or (key == "components" and name == file.baseline):
            raise UserError(f"{path}: {key}.{name}: no such variant; allowed: {', '.join(variants)}")
    if len(variants) * len(file.seeds) > file.limit:
        raise UserError(
            f"{path}: limit: got {product(len(variants), len(file.seeds), 'run')}; allowed: at most {file.limit}"
        )
    return Study(
        path,
        file,
        data,
        {name: parse(Settings, merged(layers), f"{path}: variants.{name}") for name, layers in variants.items()},
        {name: parse(Published, values, f"{path}: published.{name}") for name, values in named["published"].items()},
        {name: Component.of(text) for name, text in named["components"].items()},
    )


INHERITED = (
    "data", "seeds", "baseline", "metric", "confidence", "alpha", "margin", "test", "looks", "published", "components",
    "claims", "settings", "factors",
)  # fmt: skip
"""Keys that a study takes from the one that it extends. Those below are laid over the other's, the rest replace it."""

LAID_OVER = ("settings", "factors", "data", "components")


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


def _extended(path: Path) -> tuple[Any, Any]:
    """The content of a study file over that of the studies that it extends, and its own alone."""
    (file, whole), *nearer = reversed(_lineage(path))
    own = whole
    for child, values in nearer:
        if not isinstance(whole, dict):
            raise UserError(f"{child}: extends: {file} is not a study's file")
        taken = {key: whole[key] for key in INHERITED if key in whole}
        laid = {
            key: taken[key] | values[key]
            for key in LAID_OVER
            if isinstance(taken.get(key), dict) and isinstance(values.get(key), dict)
        }
        file, whole, own = child, taken | values | laid, values
    return whole, own


def _variants(file: StudyFile, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every variant's layers of settings: the study's own, then those of its factors."""
    common = _flat(file.settings, f"{path}: settings")
    for key in (key for key in common if key not in Settings.model_fields):
        parse(Settings, {key: common[key]}, f"{path}: settings")  # named where it was typed, not in a variant
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
