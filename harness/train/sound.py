"""Checkpoints of a run, with damage that Python itself stumbles over."""

import json
from typing import Any

from torch import Tensor

from harness.train.checkpoint import Checkpoints


class SoundCheckpoints(Checkpoints):
    """Checkpoints of which one is passed over, too, whose state is nested deeper than Python reads.

    Beside `Checkpoints` and not in it, since that is part of the code that every recorded run was made by.
    """

    _deep: frozenset[int] = frozenset()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """As `Checkpoints.load`."""
        self._deep = frozenset(number for number in super()._numbers() if self._is_deep(number))
        return super().load()

    def _is_deep(self, number: int) -> bool:
        path = self.folder / f"{number:08d}.json"
        try:
            json.loads(path.read_bytes())
        except RecursionError:
            self.damaged.append(f"{path}: damaged checkpoint passed over: nested too deep")
            return True
        except (OSError, ValueError):
            pass  # `load` says so
        return False

    def _numbers(self) -> list[int]:
        return [number for number in super()._numbers() if number not in self._deep]
