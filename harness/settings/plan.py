"""A study's plan: from named factors to variants."""

from collections.abc import Mapping
from itertools import combinations, product
from math import prod
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.errors import UserError
from harness.settings.schema import Declared

LARGEST = 10_000
"""Variants of one step at the most: more than a study's limit ever allows, counted before they are made."""


class Plan(Declared):
    """One step of a plan: how factors are combined. A factor is a switch off the baseline, with a name."""

    kind: Literal["one_factor", "leave_one_out", "add_one_in", "factorial", "grid"] = Field(
        description="one_factor and leave_one_out: each factor alone, add_one_in: all, and all but one each; ..."
    )
    factors: list[str] | None = Field(None, description="names of factors; by default every one of the study")
    values: dict[str, list[Any]] = Field({}, description="grid: setting -> values; every combination is one variant")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Plan":
        if self.kind == "grid" and self.factors is not None:
            raise ValueError("kind: grid takes values, no factors")
        if self.kind != "grid" and self.values:
            raise ValueError(f"values: got {len(self.values)} settings; allowed with kind: grid alone")
        return self


def expand(plan: Plan, factors: Mapping[str, dict[str, Any]], where: str) -> dict[str, tuple[dict[str, Any], ...]]:
    """Variants that a step of a plan declares: name -> the settings to lay over the baseline's.

    `where` names file and place. Raises `UserError` for unknown factors, and where nothing comes of the step.
    """
    names = list(factors) if plan.factors is None else plan.factors
    for name in names:
        if name not in factors:
            raise UserError(f"{where}: factors: got {name!r}; allowed: {', '.join(factors) or 'none is declared'}")
        if names.count(name) > 1:
            raise UserError(f"{where}: factors: {name} is a duplicate")
    count = {"grid": prod(map(len, plan.values.values())), "factorial": 2 ** len(names)}.get(plan.kind, len(names))
    if count > LARGEST:
        raise UserError(f"{where}: expands to {count} variants; allowed: at most {LARGEST}")
    if plan.kind == "add_one_in" and len(names) < 2:
        raise UserError(f"{where}: factors: got {len(names)}; add_one_in needs at least two")
    if not (plan.values if plan.kind == "grid" else names) or not count:
        raise UserError(f"{where}: got a plan that expands to no variant; name at least one factor, or values")
    if plan.kind == "grid":
        grid = [dict(zip(plan.values, values, strict=True)) for values in product(*plan.values.values())]
        return {"_".join(f"{name}-{word(value)}" for name, value in pairs.items()): (pairs,) for pairs in grid}
    if plan.kind == "factorial":
        subsets = [subset for size in range(1, len(names) + 1) for subset in combinations(names, size)]
        chosen = {"_".join(subset): subset for subset in subsets}
    elif plan.kind == "add_one_in":
        # Factors take components out: all of them leave the bare net, all but one put one component back.
        chosen = {"all": tuple(names)} | {f"all-but-{one}": tuple(n for n in names if n != one) for one in names}
    else:
        chosen = {name: (name,) for name in names}
    return {variant: tuple(factors[name] for name in subset) for variant, subset in chosen.items()}


def word(value: Any) -> str:
    """A value as part of a variant's name, which has neither dots nor signs: .5 is `0p5`, -conv3 is `conv3`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    kept = text.lower().replace(".", "p").replace("e-", "em").replace("+", "")
    return "".join(c if c.isalnum() or c == "_" else "-" for c in kept).strip("-_") or "none"
