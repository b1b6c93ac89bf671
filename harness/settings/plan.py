"""A study's plan: from named factors to variants."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from math import prod
from typing import Any, Literal

from pydantic import Field

from harness.errors import UserError
from harness.settings.schema import Declared

LARGEST = 10_000
"""Variants of one step at the most: more than a study's limit ever allows, counted before they are made."""

Layers = tuple[dict[str, Any], ...]
"""Settings that are laid over the study's, one after another."""


class Plan(Declared):
    """One step of a plan: how factors are combined. A factor is a switch off the baseline, with a name."""

    kind: Literal["one_factor", "leave_one_out", "add_one_in", "factorial", "grid"] = Field(
        description="one_factor and leave_one_out: each factor alone, add_one_in: all, and all but one each; ..."
    )
    factors: list[str] | None = Field(None, description="names of factors; by default every one of the study")
    values: dict[str, list[Any]] = Field({}, description="grid: setting -> values; every combination is one variant")


def expand(plan: Plan, factors: Mapping[str, dict[str, Any]], where: str) -> dict[str, Layers]:
    """Variants that a step of a plan declares: name -> the settings to lay over the baseline's.

    `where` names file and place. Raises `UserError` for unknown factors, and where nothing comes of the step.
    """
    if plan.kind == "grid":
        _count(prod(map(len, plan.values.values())), where)
        found = dict(_grid(plan, where))
    else:
        names = _names(plan, factors, where)
        if plan.kind == "factorial":
            _count(2 ** len(names), where)
        chosen = (_factorial if plan.kind == "factorial" else _single)(plan, names, where)
        found = {name: tuple(factors[factor] for factor in used) for name, used in chosen.items()}
    if not found:
        raise UserError(f"{where}: got a plan that expands to no variant; name at least one factor, or values")
    return found


def _count(variants: int, where: str) -> None:
    if variants > LARGEST:
        raise UserError(f"{where}: expands to {variants} variants; allowed: at most {LARGEST}")


def _names(plan: Plan, factors: Mapping[str, dict[str, Any]], where: str) -> list[str]:
    if plan.values:
        raise UserError(f"{where}: values: got {len(plan.values)} settings; allowed with kind: grid alone")
    names = list(factors) if plan.factors is None else plan.factors
    for name in names:
        if name not in factors:
            raise UserError(f"{where}: factors: got {name!r}; allowed: {', '.join(factors) or 'none is declared'}")
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: factors: {name} is a duplicate")
    return names


def _single(plan: Plan, names: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
    if plan.kind != "add_one_in":
        return {name: (name,) for name in names}
    if len(names) < 2:
        raise UserError(f"{where}: factors: got {len(names)}; add_one_in needs at least two")
    # Factors take components out: all of them leave the bare net, all but one put one component back.
    return {"all": tuple(names)} | {f"all-but-{name}": tuple(n for n in names if n != name) for name in names}


def _factorial(plan: Plan, names: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
    chosen = [some for count in range(1, len(names) + 1) for some in combinations(names, count)]
    return {"_".join(some): some for some in chosen}


def _grid(plan: Plan, where: str) -> Iterator[tuple[str, Layers]]:
    if plan.factors is not None:
        raise UserError(f"{where}: kind: grid takes values, no factors")
    for combination in product(*plan.values.values()):
        pairs = dict(zip(plan.values, combination, strict=True))
        if pairs:
            yield "_".join(f"{name}-{word(value)}" for name, value in pairs.items()), (pairs,)


def word(value: Any) -> str:
    """A value as part of a variant's name, which has neither dots nor signs: .5 is `0p5`, -conv3 is `conv3`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    kept = text.lower().replace(".", "p").replace("e-", "em").replace("+", "")
    return "".join(c if c.isalnum() or c == "_" else "-" for c in kept).strip("-_") or "none"


def merged(layers: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Mappings laid over one another, later ones win."""
    together: dict[str, Any] = {}
    for layer in layers:
        together |= layer
    return together
