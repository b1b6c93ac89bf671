"""The environment that numbers come from: written to a file, and held against another one."""

import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from harness import provenance
from harness.errors import UserError
from harness.files import read_json
from harness.instructions import limits
from harness.verify.compare import show

PLACES = ("machine", "versions", "packages")


def environment() -> dict[str, Any]:
    """This environment: machine, versions of what computes, and every installed package with its version."""
    from harness.numerics import device

    machine = provenance.machine(device("auto"), 0)
    del machine["threads"]  # a run's setting
    names = {str(d.metadata["Name"]).lower(): d.version for d in importlib.metadata.distributions()}
    return {
        "machine": machine | {"processors": os.cpu_count()},
        "versions": provenance.versions(),
        "packages": dict(sorted(names.items())),
    }


def read_environment(path: Path) -> dict[str, dict[str, Any]]:
    """An exported environment, or that of a run's provenance.json (which has no list of packages).

    Raises `UserError` when the file is neither.
    """
    values = read_json(path)
    if not isinstance(values, dict) or not all(isinstance(values.get(place), dict) for place in PLACES[:2]):
        raise UserError(f"{path}: neither an exported environment nor a run's provenance.json")
    values["machine"].pop("threads", None)
    return {place: values[place] for place in PLACES if isinstance(values.get(place), dict)}


def differences(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> list[str]:
    """A line on each thing in which two environments differ: only places that both have are compared."""
    told = []
    for place in [place for place in PLACES if place in one and place in other]:
        a, b = one[place], other[place]
        keys = a.keys() | b.keys() if place == "packages" else a.keys() & b.keys()
        pairs = {key: (a.get(key), b.get(key)) for key in sorted(keys)}
        told += [f"{place}: {key}: {show(pair)}" for key, pair in pairs.items() if pair[0] != pair[1]]
    return told


def other_instructions(recorded: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line where runs were recorded with narrower instructions than this processor computes with: other bits.

    `recorded`: the machines of the runs' records.
    """
    mine = torch.backends.cpu.get_cpu_capability()
    theirs = {str(machine.get("instructions")) for machine in recorded if str(machine.get("device")) == "cpu"}
    told = []
    for name in sorted(theirs - {mine}):
        variables = " ".join(f"{key}={value}" for key, value in limits(name).items())
        hint = f"; as they did: {variables}" if variables else ""
        told.append(f"instructions: {mine} here, {name} in records: other bits in new runs{hint}")
    return told
