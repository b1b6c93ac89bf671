"""The code that a stage can reach, found by its imports, and its digest: SHA-256 over a normal form.

The normal form has no comments, docstrings or positions, so that words and formatting do not count. It is written by a
walker of its own and not by `ast.dump`, whose text differs between versions of Python. Only the standard library is
imported here: the digest is asked for before anything heavy is.
"""

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import UserError

PACKAGE = "harness"
ROOT = Path(__file__).parents[2]
"""The folder that holds the package."""

SCOPES = {
    "data": "harness.data.pack",
    "train": "harness.train.run",
    "eval": "harness.evaluate",
    "gallery": "harness.gallery.render",
    "ensemble": "harness.ensemble",
    "report": "harness.report.build",
    "publish": "harness.tracking.publish",
}
"""Scope -> the module that its stage enters."""

PROVEN = ("data", "train", "eval")
"""Scopes that have a numerics identity; of the others the digest alone is of use."""

EXCLUDED = "harness.identity"
"""Not followed: it only names what the other code computes, and entering a proof must not change a digest."""

SKIPPED = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of the syntax tree that do not change what is computed, or that follow from where a node stands."""


@dataclass(frozen=True)
class Code:
    """Modules that are reached, with their files, and the data files of their packages; both sorted by name."""

    modules: dict[str, Path]
    files: dict[str, Path]

    @property
    def all(self) -> list[Path]:
        """Every file."""
        return [*self.modules.values(), *self.files.values()]


@dataclass(frozen=True)
class Normal:
    """One module's normal form: its SHA-256, and what it imports: (level, module, names)."""

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


@cache
def digest(scope: str, root: Path = ROOT) -> str:
    """SHA-256 of the code of a scope: names and normal forms of its modules, names and bytes of its data files.

    Kept for the life of the process, which goes on with the code that it has loaded. Raises `UserError` for a file that
    is not valid Python, and where the entry module is missing.
    """
    code = closure(SCOPES[scope], root)
    total = hashlib.sha256()
    for name, path in code.modules.items():
        total.update(f"{name} {_normal(path).digest}\n".encode())
    for name, path in code.files.items():
        total.update(f"{name} {_file_digest(path)}\n".encode())
    return total.hexdigest()


def closure(entry: str, root: Path = ROOT) -> Code:
    """All code of the package below `root` that module `entry` can reach by import statements.

    Those inside functions count, those under `if TYPE_CHECKING:` do not. Parent packages count, and data files that
    lie in the folder of a reached package below the first one. Raises `UserError` as `digest` does.
    """
    if _path(entry, root) is None:
        raise UserError(f"{root}: has no module {entry}")
    found: dict[str, Path] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found or name == EXCLUDED or name.startswith(f"{EXCLUDED}."):
            continue
        path = _path(name, root)
        if path is None:
            continue
        found[name] = path
        waiting += _parents(name)
        for level, module, names in _normal(path).imports:
            waiting += _targets(name, path.name == "__init__.py", level, module, names, root)
    packages = [path.parent for name, path in found.items() if path.name == "__init__.py" and name != PACKAGE]
    files = {path.relative_to(root).as_posix(): path for folder in packages for path in _data_files(folder)}
    return Code(dict(sorted(found.items())), dict(sorted(files.items())))


def _path(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _parents(module: str) -> list[str]:
    words = module.split(".")
    return [".".join(words[:count]) for count in range(1, len(words))]


def _targets(
    importer: str, is_package: bool, level: int, module: str, names: tuple[str, ...], root: Path
) -> Iterator[str]:
    """Modules that an import statement may name: the module itself, and each name that could be one inside it."""
    if level:
        words = importer.split(".")
        kept = len(words) - level + is_package
        module = ".".join([*words[:kept], *([module] if module else [])])
    if module != PACKAGE and not module.startswith(f"{PACKAGE}."):
        return
    yield module
    for name in names:
        if name == "*":
            folder = root.joinpath(*module.split("."))
            yield from (f"{module}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__")
        else:
            yield f"{module}.{name}"


def _data_files(folder: Path) -> Iterator[Path]:
    """Files of a package that are no code, those of folders in it that are no packages included."""
    for path in folder.iterdir():
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            if not (path / "__init__.py").exists():
                yield from _data_files(path)
        elif path.suffix not in (".py", ".pyc"):
            yield path


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _normal(path: Path) -> Normal:
    return _parsed(path.read_bytes(), path.as_posix())


@cache
def _parsed(content: bytes, name: str) -> Normal:
    # Kept by content, so that the scopes, and two folders with the same files, share the work.
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line, why = getattr(error, "lineno", None), getattr(error, "msg", None) or error
        raise UserError(f"{name}{f':{line}' if line else ''}: not valid Python: {why}") from error
    walker = _Walker()
    walker.write(tree)
    return Normal(hashlib.sha256("".join(walker.parts).encode()).hexdigest(), tuple(walker.imports))


class _Walker:
    """Writes a syntax tree as text into `parts`, and notes the import statements on its way."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.imports: list[tuple[int, str, tuple[str, ...]]] = []
        self._unused = False

    def write(self, node: ast.AST) -> None:
        """Append a node as `(Kind field=value ...)`; fields that are None or empty are left out."""
        parts = self.parts
        if isinstance(node, ast.Constant):
            # A type as well: 1, 1.0 and True are equal, and not the same.
            # In ASCII: which characters are printable depends on the version.
            parts.append(f"({type(node.value).__name__} {node.value!a})")
            return
        if isinstance(node, (ast.Import, ast.ImportFrom)) and not self._unused:
            self._note(node)
        parts.append(f"({type(node).__name__}")
        for name in node._fields:
            if name in SKIPPED:
                continue
            value = getattr(node, name, None)
            if value is None or value == []:
                continue
            parts.append(f" {name}=")
            if name == "body" and isinstance(node, ast.If) and _is_type_checking(node.test):
                before, self._unused = self._unused, True
                self._value(value)
                self._unused = before
            elif name == "values" and isinstance(node, ast.JoinedStr):
                self._value(_joined(value))
            else:
                self._value(value)
        parts.append(")")

    def _value(self, value: Any) -> None:
        if isinstance(value, ast.AST):
            self.write(value)
        elif isinstance(value, list):
            self.parts.append("[")
            for one in value:
                if not _says_nothing(one):
                    self._value(one)
            self.parts.append("]")
        else:
            self.parts.append(f"{value!a},")

    def _note(self, node: ast.Import | ast.ImportFrom) -> None:
        names = tuple(alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            self.imports += [(0, name, ()) for name in names]
        else:
            self.imports.append((node.level, node.module or "", names))


def _says_nothing(node: Any) -> bool:
    """Whether a statement only stands there: a string (a docstring, or what is said of an attribute), or `pass`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts in one: versions of Python divide them differently."""
    found: list[ast.expr] = []
    for value in values:
        last = found[-1] if found else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            found[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            found.append(value)
    return found
