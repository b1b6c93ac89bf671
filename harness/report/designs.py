"""Designs of several switches that a study's plan declares: which variant is which cell of them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.settings.parse import parse
from harness.settings.plan import Plan
from harness.settings.study import Study


@dataclass(frozen=True)
class FactorialDesign:
    """A full factorial. `cells`: levels (0 or 1 a factor) -> variant; `clash`: why it has no main effects, or ``."""

    factors: tuple[str, ...]
    cells: dict[tuple[int, ...], str]
    clash: str


@dataclass(frozen=True)
class Component:
    """What a factor takes out: four variants show it put into the bare net and taken out of the full one."""

    factor: str
    bare: str
    bare_with: str
    full: str
    full_without: str

    @property
    def variants(self) -> list[str]:
        return [self.bare, self.bare_with, self.full, self.full_without]


def factorials(study: Study) -> list[FactorialDesign]:
    """The factorials of two factors or more, in the order of the plan."""
    found = []
    for plan in _steps(study, "factorial"):
        names = _names(study, plan)
        if len(names) < 2:
            continue
        cells, clash = {}, ""
        for levels in itertools.product((0, 1), repeat=len(names)):
            switched = [name for name, level in zip(names, levels, strict=True) if level]
            cells[levels] = "_".join(switched) or study.baseline
            if not _adds_up(study, switched, cells[levels]):
                clash = "its cells do not differ from the baseline in what their factors alone change, added up"
        found.append(FactorialDesign(tuple(names), cells, clash))
    return found


def components(study: Study) -> list[Component]:
    """The components that the plan both adds to the bare net and takes out of the full one, alone in both."""
    found = []
    for plan in _steps(study, "add_one_in"):
        for name in _names(study, plan):
            bare_with = f"all-but-{name}"
            both = {"all", bare_with, name} <= study.variants.keys()
            rest = study.differences(bare_with) if both else {}
            own = study.differences(name) if both else {}
            if both and not rest.keys() & own.keys() and rest | own == study.differences("all"):
                found.append(Component(name, "all", bare_with, study.baseline, name))
    return found


def _steps(study: Study, kind: str) -> list[Plan]:
    steps = [parse(Plan, values, f"{study.path}: plan.{place}") for place, values in enumerate(study.file.plan)]
    return [step for step in steps if step.kind == kind]


def _names(study: Study, plan: Plan) -> list[str]:
    return list(study.file.factors) if plan.factors is None else plan.factors


def _adds_up(study: Study, factors: Sequence[str], variant: str) -> bool:
    """Whether a variant differs from the baseline in what each of some factors changes alone, and in nothing else."""
    together: dict[str, Any] = {}
    for name in factors:
        own = study.differences(name)
        if own.keys() & together.keys():
            return False
        together |= own
    return study.differences(variant) == together
