"""The state of an unfinished run: saved whole, checked when read, the one before kept."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from harness.files import hash_file, hash_json, write_bytes, write_json

KEPT = 2
"""The last two: should the newest be damaged, the one before serves."""


class Checkpoints:
    """Checkpoints in a folder: tensors as safetensors, and a JSON file with their hash and the rest of the state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: list[str] = []
        """A line on each damaged checkpoint that `load` passed over."""

    def save(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Write a checkpoint; older ones than the last two are removed. Raises `UserError` when the disk is full."""
        number = max(self._numbers(), default=0) + 1
        weights = self.folder / f"{number:08d}.safetensors"
        write_bytes(weights, save({name: tensor.contiguous() for name, tensor in tensors.items()}))
        # The JSON file comes last: a checkpoint exists once it is there.
        write_json(
            self.folder / f"{number:08d}.json",
            {"sha256": hash_file(weights), "state": state, "state_sha256": hash_json(state)},
        )
        for old in self._numbers()[:-KEPT]:
            for ending in ("json", "safetensors"):
                (self.folder / f"{old:08d}.{ending}").unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors (on the CPU) and state of the newest sound checkpoint, or None where there is none."""
        for number in reversed(self._numbers()):
            weights, path = (self.folder / f"{number:08d}.{ending}" for ending in ("safetensors", "json"))
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
                content = weights.read_bytes()
                if hash_file(weights) != entry["sha256"]:
                    raise ValueError("its hash differs")
                if hash_json(entry["state"]) != entry["state_sha256"]:
                    raise ValueError("the hash of its state differs")
                return load(content), entry["state"]
            except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
                self.damaged.append(f"{weights}: damaged checkpoint passed over: {error}")
            except RecursionError:  # Python's own words would name its stack, not the file
                self.damaged.append(f"{path}: damaged checkpoint passed over: nested too deep")
        return None

    def clear(self) -> None:
        """Remove the folder: the run is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _numbers(self) -> list[int]:
        return sorted(int(p.stem) for p in self.folder.glob("*.json") if re.fullmatch(r"\d{8}", p.stem))
