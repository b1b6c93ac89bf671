"""Finding and reading settings and studies: presets resolved, what a study extends laid under it, its plan expanded."""

import os
import re
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import read_json, read_yaml
from harness.grammar import product
from harness.settings.parse import parse
from harness.settings.plan import expand
from harness.settings.presets import PRESETS
from harness.settings.schema import DataSettings, Settings, recorded
from harness.settings.study import CANDIDATE, DEFAULT, NAME, Component, Study, StudyFile


def resolve(values: Any, where: str) -> Settings:
    """Settings from a mapping: the schema's defaults, then the presets named under `preset`, then the other keys.

    `where` names the file and place. Raises `UserError`.
    """
    return parse(Settings, _flat(values, where), where)


def _flat(values: Any, where: str) -> dict[str, Any]:
    """The settings of a mapping over those of its presets."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: got {values!r}; a mapping of settings is allowed")
    names, flat = values.get("preset", []), dict[str, Any]()
    for name in names if isinstance(names, list) else [names]:
        if not isinstance(name, str) or name not in PRESETS:
            raise UserError(f"{where}: preset: got {name!r}; allowed: {', '.join(PRESETS)}")
        flat |= PRESETS[name]
    return flat | {key: value for key, value in values.items() if key != "preset"}


def _read(path: Path) -> Any:
    """What a file of settings or of a study holds. Raises `UserError`, in plain words where it is not text or empty."""
    try:
        values = read_yaml(path)
    except UserError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        raise UserError(f"{path}: cannot be read: its text is not UTF-8; save it as UTF-8") from error
    if values is None:
        raise UserError(f"{path}: is empty; a mapping of settings is allowed")
    return values


def load_candidate(path: Path) -> tuple[Settings, int]:
    """The candidate of params.yaml: its settings and its seed. Raises `UserError`."""
    values = _flat(_read(path), str(path))
    seed = values.pop("seed", None)
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(f"{path}: seed: got {seed!r}; allowed: an integer >= 0 and < {2**31}")
    return parse(Settings, values, str(path)), seed


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


def _stored(path: Path) -> Settings:
    """Settings of a JSON file, as a run's record holds them."""
    values = read_json(path)
    return parse(Settings, recorded(values) if isinstance(values, dict) else values, str(path))


FILES = (".json", ".yaml", ".yml")
"""Endings of files that hold settings or a study."""

PAGES = (".md", ".html")
"""Endings of a report's pages."""


def load_run(spec: str) -> Named:
    """The run that `spec` names: `[STUDY:]VARIANT[-SEED]`, `params.yaml` (the candidate), or a file of settings.

    STUDY is whatever `find_study` takes; without it, the default study. Raises `UserError`.
    """
    place, _, key = spec.rpartition(":")
    path = Path(spec)
    if place or path.suffix not in FILES:
        study = load_study(find_study(Path(place) if place else DEFAULT))
        if key in study.variants:
            return Named(study.variants[key], study, key)
        variant, _, digits = key.rpartition("-")
        if variant in study.variants and digits.isascii() and digits.isdigit():
            return Named(study.variants[variant], study, variant, int(digits))
        raise UserError(
            f"{study.path}: got {key!r}; allowed: a variant, or a variant and a seed: {', '.join(study.variants)}"
        )
    if path.suffix == ".json":
        return Named(_stored(path))
    values = _read(path)
    if isinstance(values, dict) and values.keys() & {"variants", "plan", "extends"}:
        raise UserError(f"{spec}: got a study; allowed: one of its runs, as {spec}:VARIANT-SEED")
    settings, seed = load_candidate(path)
    beside = path.parent / DEFAULT
    is_candidate = path.name == CANDIDATE.name and os.path.isfile(beside)
    return Named(settings, load_study(beside) if is_candidate else None, None, seed)


def find_study(target: Path, root: Path = Path(".")) -> Path:
    """The file of the study that `target` names: the file itself, its folder, its name, its report or report's folder.

    The folder may be named from experiments/, as where its file is too broken to give a name.

    What is a file, or is called like one, is taken as it is. Raises `UserError` with the studies that there are.
    """
    path = root / target
    if target.suffix in FILES or (os.path.isfile(path) and target.suffix not in PAGES):
        return path
    if os.path.isfile(path / DEFAULT.name):
        return path / DEFAULT.name
    name = target.stem if target.suffix in PAGES else target.name
    known = declared_names(root)
    plain = root / DEFAULT.parent / f"{name}.yaml"
    if os.path.isfile(plain) and declared_name(plain) == name:
        known[plain] = name
    # Elsewhere a folder of that name is another thing.
    is_name = path.parent.resolve() in (root.resolve(), (root / "reports").resolve())
    files = [file for file, declared in known.items() if declared == name and is_name]
    if len(files) > 1:
        raise UserError(f"{target}: the name of {len(files)} studies; allowed: {', '.join(map(str, files))}")
    folder = root / DEFAULT.parent / name / DEFAULT.name
    if not files and is_name and os.path.isfile(folder):  # a file that gives another name or, as a broken one, none
        return folder
    if not files:
        names = ", ".join(sorted(known.values())) or "none is declared"
        raise UserError(f"{target}: no study of that name; allowed: {names}, or a study's file, folder or report")
    return files[0]


def declared_names(root: Path = Path(".")) -> dict[Path, str]:
    """The files of the studies below experiments/, each with its name; those without one are left out."""
    files = sorted((root / DEFAULT.parent).rglob(DEFAULT.name))
    return {file: name for file in files if file.is_file() and (name := declared_name(file))}


def declared_name(file: Path) -> str | None:
    """The name that a study's file gives. Not read as YAML: a draft may be broken."""
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    match = re.search(r"""^(?:\{\s*)?["']?name["']?:[ \t]*["']?([^\s"',}]+)""", text, re.MULTILINE)
    return match[1] if match else None


RESERVED = {"candidate": "the run of params.yaml", "readme": "the index of all reports"}
"""Names that neither a study nor its report may have, and what has them."""


def load_study(path: Path) -> Study:
    """Read and check a study file. Raises `UserError` with one line: file, key, what was found, what is allowed."""
    values, written = _extended(path)
    for key in ("factors", "variants"):
        for name in written[key] if isinstance(written, dict) and isinstance(written.get(key), dict) else ():
            if not isinstance(name, str):  # 007, true, 2024-01-01
                raise UserError(
                    f"{path}: {key}: got the name {name}, which YAML does not read as a string; write it in quotes"
                )
    file = parse(StudyFile, values, str(path))
    if file.name in RESERVED:
        raise UserError(f"{path}: name: got {file.name!r}, which is kept for {RESERVED[file.name]}; take another")
    if written.get("factors") and not file.plan:
        raise UserError(
            f"{path}: plan: missing, and without it the factors make no variant; allowed: a list, as "
            "[{kind: one_factor}]"
        )
    data = parse(DataSettings, file.data, f"{path}: data")
    variants = _variants(file, path)
    others = [name for name in variants if name != file.baseline]
    for key, names, allowed in (
        ("baseline", [file.baseline], list(variants)),
        ("family", file.family or [], others),
        ("ensembles", file.ensembles, list(variants)),
    ):
        for name in names:
            if not set(name.split("+") if key == "ensembles" else [name]) <= set(allowed):
                raise UserError(f"{path}: {key}: got {name!r}; allowed: {', '.join(allowed)}")
    # A variant that this study lacks was named by the study that it extends.
    for key, allowed in (("published", list(variants)), ("components", others)):
        for name in written.get(key, {}):
            if name not in allowed:
                raise UserError(f"{path}: {key}.{name}: no such variant; allowed: {', '.join(allowed)}")
    if len(variants) * len(file.seeds) > file.limit:
        raise UserError(
            f"{path}: limit: got {product(len(variants), len(file.seeds), 'run')}; allowed: at most {file.limit}"
        )
    return Study(
        path,
        file,
        data,
        {name: parse(Settings, reduce(or_, layers), f"{path}: variants.{name}") for name, layers in variants.items()},
        {name: published for name, published in file.published.items() if name in variants},
        {name: Component.of(text) for name, text in file.components.items() if name in others},
    )


INHERITED = (
    "data", "seeds", "baseline", "metric", "metrics", "confidence", "alpha", "margin", "test", "looks", "published",
    "components", "claims", "settings", "factors",
)  # fmt: skip
"""Keys that a study takes from the one that it extends. Those below are laid over the other's, the rest replace it."""

LAID_OVER = ("settings", "factors", "data", "components")


def lineage(path: Path) -> dict[Path, Any]:
    """A study's file, and those that it extends, nearest first, each with its content. Raises `UserError`."""
    files: dict[Path, Any] = {}
    while path not in files:
        values = files[path] = _read(path)
        parent = values.get("extends") if isinstance(values, dict) else None
        if not isinstance(parent, str) or not parent:
            return files
        # Written without `..`, as DVC and a reader would name it.
        file, path = path, Path(os.path.normpath(path.parent / parent))
    raise UserError(f"{file}: extends: got {parent!r}, which extends this file; a circle is not allowed")


def _extended(path: Path) -> tuple[Any, Any]:
    """The content of a study file over that of the studies that it extends, and what it says itself."""
    (file, whole), *nearer = reversed(lineage(path).items())
    values = whole
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
    return whole, values


def _variants(file: StudyFile, path: Path) -> dict[str, list[dict[str, Any]]]:
    """Every variant's layers of settings: the study's own, then those of its factors."""
    common = _flat(file.settings, f"{path}: settings")
    for key in (key for key in common if key not in Settings.model_fields):
        parse(Settings, {key: common[key]}, f"{path}: settings")  # named where it was typed, not in a variant
    factors = {name: _flat(values, f"{path}: factors.{name}") for name, values in file.factors.items()}
    variants: dict[str, list[dict[str, Any]]] = {}
    if file.plan and file.baseline not in file.variants:
        variants[file.baseline] = [common]
    for number, step in enumerate(file.plan):
        where = f"{path}: plan.{number}"
        for name, layers in expand(step, factors, where).items():
            if variants.setdefault(name, [common, *layers]) != [common, *layers]:
                raise UserError(f"{where}: gives {name} other settings than a step before; each name is allowed once")
    for name, values in file.variants.items():
        if name in variants:
            raise UserError(f"{path}: variants.{name}: is a variant of the plan, too; take another name")
        flat = _flat(values, f"{path}: variants.{name}")
        # Presets of its own replace the study's settings, but not how it computes.
        kept = {key: common[key] for key in ("bits",) if key in common} if "preset" in values else common
        variants[name] = [kept, flat]
    if not variants:
        raise UserError(f"{path}: variants: got none; at least the baseline is needed")
    for name in variants:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(
                f"{path}: variants.{name}: a name has small letters, digits, - and _ alone (no dot), at most 63"
            )
        before, _, digits = name.rpartition("-")
        if before in variants and digits in map(str, file.seeds):
            raise UserError(
                f"{path}: variants.{name}: is the name of a run of {before}, with seed {digits}; take another"
            )
    if "candidate" in variants:
        raise UserError(f"{path}: variants.candidate: the name is kept for the run of params.yaml; take another")
    return variants
