"""Whether new runs would be computed with the instructions of the recorded ones."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from harness.instructions import limits


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
