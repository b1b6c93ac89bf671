"""The commands that make the rows of a report again."""

from collections.abc import Sequence
from pathlib import Path

from harness.settings.study import Study


def inside(path: Path, root: Path) -> Path | None:
    """A path relative to the repository, or None when it lies elsewhere."""
    absolute = path.resolve() if path.is_absolute() else (root / path).resolve()
    return absolute.relative_to(root.resolve()) if absolute.is_relative_to(root.resolve()) else None


def rerun(study: Study, variants: Sequence[str], root: Path) -> str:
    """The command that runs every seed of some variants again through DVC, in bash or zsh."""
    file = inside(study.path, root)
    own = file.parent / "dvc.yaml" if file else None
    place = f"{own.as_posix()}:" if own and (root / own).exists() else ""
    return f"dvc repro -f -s {place}{{train,eval}}@{_braces(variants)}-{_braces([str(s) for s in study.seeds])}"


def _braces(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{{{','.join(words)}}}"
