"""Two sides of a proof held against each other, bit by bit. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np

MISSING = "nothing"

AS_FLOAT32 = ("manifest.eigenvalues", "manifest.eigenvectors")
"""Outcomes that are equal when their float32 are: training reads them so, and double digits depend on the processor."""

WORDS = "message"
"""The outcome that is shown and not compared: a refusal may be worded anew, as long as it is one."""


@dataclass(frozen=True)
class Difference:
    """A probe whose outcomes differ: which of them, and where the two part.

    `outcomes`: names such as `weights.conv1`, each with the old and the new value. `epoch` and `step` of the first loss
    that differs, from 1 (None: none does). `row`: the first epoch whose row of the history differs.
    """

    probe: str
    outcomes: dict[str, tuple[Any, Any]]
    epoch: int | None = None
    step: int | None = None
    row: int | None = None

    def _shown(self, key: str, side: int) -> str:
        words = self.outcomes.get(WORDS, ("", ""))[side] if key == "raised" else ""
        value = _short(self.outcomes[key][side])
        return f"{value} ({_short(words)})" if words and words != MISSING else value

    def line(self) -> str:
        """What differs, in one line."""
        names = list(self.outcomes)
        for key in ("unknown_settings.0", "raised"):
            if key in names:
                old, new = (self._shown(key, side) for side in (0, 1))
                return f"{self.probe}: {key.partition('.')[0].replace('_', ' ')}: before {old}, now {new}"
        parts = sorted({name.partition(".")[0].replace("_", " ") for name in names})
        where = ""
        if self.epoch is not None:
            where = f"; the losses from epoch {self.epoch}, step {self.step} on"
        elif self.row is not None:
            where = f"; the losses agree, the history differs from epoch {self.row} on"
        if len(names) <= 3 and self.epoch is None:
            shown = [f"{name} (before {_short(old)}, now {_short(new)})" for name, (old, new) in self.outcomes.items()]
            return f"{self.probe}: {', '.join(shown)}{where}"
        return f"{self.probe}: {', '.join(parts)}{where}"


def difference(probe: str, old: dict[str, Any], new: dict[str, Any], may_lack: frozenset[str]) -> Difference | None:
    """How the outcomes of a probe differ, or None where they are bitwise identical.

    A probe whose settings the old code does not know has nothing to be compared with where all of them are in
    `may_lack`; see `comparable`.
    """
    if not comparable(old, may_lack):
        return None
    one, other = _flat(old), _flat(new)
    names = [name for name in {**one, **other} if not _same(name, one.get(name, MISSING), other.get(name, MISSING))]
    if not set(names) - {WORDS}:
        return None
    found = {name: (one.get(name, MISSING), other.get(name, MISSING)) for name in names}
    epoch, step = _first_loss(old, new)
    rows = [int(name.split(".")[1]) + 1 for name in names if name.startswith("history.")]
    return Difference(probe, found, epoch, step, min(rows, default=None))


def _same(name: str, one: Any, other: Any) -> bool:
    if one == other or not name.startswith(AS_FLOAT32) or MISSING in (one, other):
        return bool(one == other)
    return bool(np.float32(one) == np.float32(other))


def comparable(old: dict[str, Any], may_lack: frozenset[str]) -> bool:
    """Whether the old code could run a probe, or should have.

    It may lack the settings in `may_lack`, and refuse the values there, which are written as `name: value`.
    """
    values = (entry.partition(": ") for entry in may_lack if ": " in entry)
    refused = any(f": {name}: got {value!r}; allowed: one of " in old.get(WORDS, "") for name, _, value in values)
    unknown = old.get("unknown_settings")
    return not refused and (unknown is None or not set(unknown) <= may_lack)


def _first_loss(old: dict[str, Any], new: dict[str, Any]) -> tuple[int | None, int | None]:
    """Epoch and step, from 1, of the first loss that differs; losses are float32, as eight hexadecimal digits each."""
    one, other = str(old.get("losses", "")), str(new.get("losses", ""))
    if one == other or not one or not other:
        return None, None
    count = max(len(one), len(other)) // 8
    first = next(i for i in range(count) if one[8 * i : 8 * i + 8] != other[8 * i : 8 * i + 8])
    steps = int(new.get("steps") or 1)
    return first // steps + 1, first % steps + 1


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Outcomes by their path: `history.0.lr`."""
    if isinstance(value, (dict, list)) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        found: dict[str, Any] = {}
        for key, one in pairs:
            found |= _flat(one, f"{name}.{key}" if name else str(key))
        return found
    return {name: value}


def _short(value: Any) -> str:
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text if len(text) <= 90 else f"{text[:87]}..."
