"""The code that a stage can reach, found by its imports, and its digest: SHA-256 over a normal form.

The normal form has no comments, docstrings or positions, so that words and formatting do not count. It is written by a
walker of its own and not by `ast.dump`, whose text differs between versions of Python. Only the standard library is
imported here: the digest is asked for before anything heavy is.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator
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


@cache
def digest(scope: str, root: Path = ROOT) -> str:
    """SHA-256 of the code of a scope: names and normal forms of its modules, names and bytes of its data files.

    Kept for the life of the process, which goes on with the code that it has loaded. Raises `UserError` for a file that
    is not valid Python, and where the entry module is missing.
    """
    total = hashlib.sha256()
    for name, path in closure(SCOPES[scope], root).items():
        content = path.read_bytes()
        part = _parsed(content, path)[0] if path.suffix == ".py" else hashlib.sha256(content).hexdigest()
        total.update(f"{name} {part}\n".encode())
    return total.hexdigest()


def closure(entry: str, root: Path = ROOT) -> dict[str, Path]:
    """All code of the package below `root` that module `entry` can reach by import statements.

    Those inside functions count, those under `if TYPE_CHECKING:` do not. Parent packages count, and data files that
    lie in the folder of a reached package below the first one. Sorted by name, modules first. Raises `UserError`.
    """
    if _path(entry, root) is None:
        raise UserError(f"{root}: has no module {entry}")
    modules: dict[str, Path] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        path = _path(name, root)
        outside = name.partition(".")[0] != PACKAGE or f"{name}.".startswith(f"{EXCLUDED}.")
        if name in modules or outside or path is None:
            continue
        modules[name] = path
        parent = name.rpartition(".")[0]
        waiting.append(parent)
        for relative, names in _parsed(path.read_bytes(), path)[1]:
            module = importlib.util.resolve_name(relative, name if path.name == "__init__.py" else parent)
            waiting += [module, *(f"{module}.{one}" for one in names)]  # a name may be a module, or in one
    packages = [path.parent for name, path in modules.items() if path.name == "__init__.py" and name != PACKAGE]
    data = {path.relative_to(root).as_posix(): path for folder in packages for path in _data_files(folder)}
    return dict(sorted(modules.items())) | dict(sorted(data.items()))


def _path(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


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


@cache
def _parsed(content: bytes, path: Path) -> tuple[str, list[tuple[str, tuple[str, ...]]]]:
    """SHA-256 of a module's normal form, and its imports; kept, so that the scopes share the work."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        line, why = getattr(error, "lineno", None), getattr(error, "msg", None) or error
        raise UserError(f"{path.as_posix()}{f':{line}' if line else ''}: not valid Python: {why}") from error
    return hashlib.sha256(_normal(tree).encode()).hexdigest(), list(_imports(tree))


def _normal(node: Any) -> str:
    """A syntax tree as `(Kind field=value ...)`; fields that are None or empty are left out."""
    if isinstance(node, list):
        return f"[{''.join(_normal(one) for one in node if not _is_silent(one))}]"
    if isinstance(node, ast.Constant):
        # A type as well: 1, 1.0 and True are equal, and not the same.
        # In ASCII: which characters are printable depends on the version.
        return f"({type(node.value).__name__} {node.value!a})"
    if not isinstance(node, ast.AST):
        return f"{node!a},"
    fields = {name: getattr(node, name, None) for name in node._fields if name not in SKIPPED}
    if isinstance(node, ast.JoinedStr) and node.values:
        fields["values"] = _joined(node.values)
    text = "".join(f" {name}={_normal(value)}" for name, value in fields.items() if value is not None and value != [])
    return f"({type(node).__name__}{text})"


def _is_silent(node: Any) -> bool:
    """Whether a statement does nothing: a string (a docstring, or what is said of an attribute), or `pass`."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return isinstance(node, ast.Pass)


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string with neighbouring texts in one: versions of Python divide them differently."""
    parts: list[ast.expr] = []
    for value in values:
        if not isinstance(value, ast.Constant):
            parts.append(value)
        elif parts and isinstance(parts[-1], ast.Constant):
            parts[-1] = ast.Constant(str(parts[-1].value) + str(value.value))
        elif value.value != "":
            parts.append(value)
    return parts


def _imports(node: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Import statements: the module, behind a dot a level where it is relative, and the names."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, ()) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)
    if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
        children: Iterable[ast.AST] = node.orelse
    else:
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _imports(child)
