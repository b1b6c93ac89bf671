"""Files of the harness's own repository that the package carries for others: the wheel has copies (pyproject.toml)."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """The package's copy of a file, by its name in the repository; in a source checkout that file itself."""
    copy = PACKAGE / "_shipped" / name
    return copy if copy.exists() else PACKAGE.parent / name


def found(file: Path, root: Path) -> Path:
    """A file below the repository `root`, or the package's copy where the repository has none, as of the claims."""
    own, copy = root / file, shipped(file.as_posix())
    return own if own.exists() or not copy.exists() else copy
