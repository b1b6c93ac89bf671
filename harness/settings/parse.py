"""From a mapping to checked settings, and from a mistake to one line that its user can act on."""

import difflib
import types
import typing
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def parse(model: type[Model], values: Any, where: str) -> Model:
    """Check `values` (a mapping) against a declared model.

    `where` names the file and the place in it. Raises `UserError`: one line with the key, what was found and what is
    allowed.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: got {_show(values)}; a mapping of settings is allowed")
    for key, value in values.items():
        if not isinstance(key, str):
            raise UserError(f"{where}: got the key {_show(key)}; a string is allowed")
        # To Python true equals 1, so that pydantic takes it for one of the numbers 1 and 2.
        field = model.model_fields.get(key)
        if isinstance(value, bool) and field is not None and get_origin(field.annotation) is Literal:
            raise UserError(f"{where}: {key}: got {_show(value)}; allowed: {allowed(model, key)}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}: {_explain(model, first)}") from error


def _explain(model: type[BaseModel], error: Any) -> str:
    if not error["loc"]:
        # The words of the model's own checks; pydantic's of what it refuses before them, as a key that is no Unicode.
        return str(error.get("ctx", {}).get("error", error["msg"]))
    above, rest = "", list(error["loc"])
    while len(rest) > 1 and (inner := _inner(model, rest[0])):
        held = 2 if isinstance(rest[1], int) else 1  # of a list, its place as well
        if len(rest) <= held:
            break
        above, model, rest = f"{above}{'.'.join(map(str, rest[:held]))}.", inner, rest[held:]
    key = str(rest[0])
    if error["type"] == "extra_forbidden":
        return f"unknown setting {above + key!r}{_nearest(key, list(model.model_fields))}"
    if error["type"] == "missing":
        return f"{above}{key}: missing; allowed: {allowed(model, key)}"
    return f"{above}{key}: got {_show(error['input'])}; allowed: {allowed(model, key)}"


def _inner(model: type[BaseModel], key: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or as an alternative to nothing."""
    field = model.model_fields.get(key)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((kind for kind in kinds if _is_model(kind)), None)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _nearest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; allowed: {', '.join(sorted(names))}"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def allowed(model: type[BaseModel], key: str) -> str:
    """What a setting may be, in words: `true or false`, `one of relu, tanh`, `a number >= 0 and < 1`."""
    field = model.model_fields[key]
    return _kind(field.annotation, field.metadata)


_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _kind(annotation: Any, metadata: list[Any]) -> str:
    if get_origin(annotation) is Annotated:
        return _kind(get_args(annotation)[0], _flat(get_args(annotation)[1:]))
    if get_origin(annotation) is Literal:
        values = [str(value) for value in get_args(annotation)]
        return values[0] if len(values) == 1 else "one of " + ", ".join(values)
    if get_origin(annotation) in (typing.Union, types.UnionType):
        parts = [_kind(part, metadata) for part in get_args(annotation) if part is not type(None)]
        return " or ".join([*parts, "nothing"])
    if annotation is Any:
        return "anything"
    if _is_model(annotation):
        return "a mapping"
    if get_origin(annotation) is dict:
        values = get_args(annotation)[1]
        return "a mapping" if values is Any else f"a mapping, each value {_kind(values, [])}"
    if get_origin(annotation) is list:
        return "a list, each " + _kind(get_args(annotation)[0], [])
    limits = [
        f"{_SIGNS[k]} {getattr(m, k)}" for m in _flat(metadata) for k in _SIGNS if getattr(m, k, None) is not None
    ]
    pattern = [m.pattern for m in _flat(metadata) if getattr(m, "pattern", None)]
    words = _WORDS.get(annotation, str(annotation))
    if pattern:
        return "auto, cpu, cuda or cuda:N" if "cuda" in pattern[0] else f"a string like {pattern[0]}"
    return f"{words} {' and '.join(limits)}".strip()


def _flat(metadata: Any) -> list[Any]:
    """Pydantic keeps limits as they were given: bare, or inside a Field."""
    return [part for m in metadata for part in (getattr(m, "metadata", None) or [m])]
