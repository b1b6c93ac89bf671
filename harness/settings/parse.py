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
    above, rest = "", list(error["loc"])
    if not rest or error["type"] == "value_error":
        # The words of the model's own checks; pydantic's of what it refuses before them, as a key that is no Unicode.
        words = str(error.get("ctx", {}).get("error", error["msg"]))
        return f"{'.'.join(map(str, rest))}: {words}" if rest else words
    while len(rest) > 1 and (inner := _inner(model, rest[0])):
        # Of a list its place as well, of a mapping its key.
        held = 2 if isinstance(rest[1], int) or get_origin(model.model_fields[rest[0]].annotation) is dict else 1
        if len(rest) <= held:
            break
        above, model, rest = f"{above}{'.'.join(map(str, rest[:held]))}.", inner, rest[held:]
    key = str(rest[0])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, model.model_fields, 3)
        names = (
            f"; did you mean {' or '.join(near)}?" if near else f"; allowed: {', '.join(sorted(model.model_fields))}"
        )
        return f"unknown setting {above + key!r}{names}"
    got = "missing" if error["type"] == "missing" else f"got {_show(error['input'])}"
    return f"{above}{key}: {got}; allowed: {allowed(model, key)}"


def _inner(model: type[BaseModel], key: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or as an alternative to nothing."""
    field = model.model_fields.get(key)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    return next((kind for kind in kinds if _is_model(kind)), None)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def allowed(model: type[BaseModel], key: str) -> str:
    """What a setting may be, in words: `true or false`, `one of relu, tanh`, `a number >= 0 and < 1`."""
    field = model.model_fields[key]
    return _kind(field.annotation, field.metadata)


_WORDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Any: "anything"}
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def _kind(annotation: Any, metadata: list[Any]) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0], list(args[1:]))
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return " or ".join([*(_kind(part, metadata) for part in args if part is not type(None)), "nothing"])
    if _is_model(annotation):
        return "a mapping"
    if origin is dict:
        return "a mapping" if args[1] is Any or _is_model(args[1]) else f"a mapping, each value {_kind(args[1], [])}"
    if origin is list:
        return "a list, each " + _kind(args[0], [])
    # Pydantic keeps limits as they were given: bare, or inside a Field.
    limits = [limit for one in metadata for limit in (getattr(one, "metadata", None) or [one])]
    for limit in limits:
        if pattern := getattr(limit, "pattern", None):
            return "auto, cpu, cuda or cuda:N" if "cuda" in pattern else f"a string like {pattern}"
    bounds = [
        f"{sign} {value}"
        for one in limits
        for k, sign in _SIGNS.items()
        if (value := getattr(one, k, None)) is not None
    ]
    return f"{_WORDS.get(annotation, str(annotation))} {' and '.join(bounds)}".strip()
