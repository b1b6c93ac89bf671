"""What verifications of a study's runs have found: reports/<study>/verified.json, written by `harness verify`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.errors import UserError
from harness.files import hash_json, read_json
from harness.grammar import counted
from harness.record import Hashes
from harness.report.cells import Result
from harness.report.markdown import code, joined, plain
from harness.settings.parse import parse
from harness.settings.study import Study

FILE = "verified.json"


class Verification(BaseModel):
    """One run made again. `record`: identity of the record that it was held against, see `identity`.

    `epochs`: how many were made again, of `of`, and `steps`, whose losses were compared (0: the record has none).
    `when`: UTC, ISO 8601. `commit`, `dirty`: the code that ran. `machine`, `versions`: where. `differs`: what came out
    otherwise, with the first epoch in which it shows (None: in none), epoch and step of the first loss that differs,
    all from 1, and the likely cause.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    verified: bool
    record: str
    epochs: int
    of: int
    when: str
    commit: str | None
    dirty: str | None
    here: bool
    machine: dict[str, str | int | None]
    versions: dict[str, str | None]
    agrees: list[str]
    differs: list[str]
    first_epoch: int | None
    cause: str
    first_step: list[int] | None = None
    steps: int = 0

    @property
    def whole(self) -> bool:
        """Whether the whole run was made again, not its first epochs alone."""
        return self.epochs == self.of


def identity(fingerprint: str, hashes: Hashes) -> str:
    """Hash of a run's fingerprint and of all that its record says to have gone in and come out.

    A verification of one record says nothing of another.
    """
    return hash_json([fingerprint, hashes.model_dump()])


def read_verified(path: Path) -> dict[str, Verification]:
    """Verifications by cell; none, where the file is not there. Raises `UserError` when it is broken."""
    if not path.exists():
        return {}
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path}: got {type(values).__name__}; a mapping from cells to verifications is allowed")
    return {key: parse(Verification, value, f"{path}: {key}") for key, value in values.items()}


def verified_text(study: Study, cells: list[Result], root: Path) -> str:
    """How many of a row's runs were verified, where and when, as Markdown for a table."""
    found = read_verified(root / study.folder / FILE)
    held = {}
    for cell in cells:
        one = found.get(cell.key)
        if one and cell.run and one.record == identity(cell.run.fingerprint, cell.run.hashes):
            held[cell.key] = one
    if not held:
        return "not yet"
    sound = [one for one in held.values() if one.verified]
    whole = [one for one in sound if one.whole]
    parts = []
    if whole:
        where = sorted({f"{_place(one)}, torch {one.versions.get('torch')}, {one.when[:10]}" for one in whole})
        parts.append(f"{len(whole)} of {len(cells)} to the bit ({plain('; '.join(where))})")
    if first := [one for one in sound if not one.whole]:
        parts.append(f"{len(first)} of {len(cells)} over the first {_least(first)}")
    if lost := [(key, one) for key, one in held.items() if not one.verified]:
        parts.append(
            "**differs**: " + joined([f"{code(key)} ({_parting(one)}{plain(one.cause)})" for key, one in lost])
        )
    return "; ".join(parts)


def _least(some: list[Verification]) -> str:
    """How far the shortest of several verifications went."""
    least = min(some, key=lambda one: (one.epochs, one.steps))
    return counted(least.steps, "step") if least.steps else counted(least.epochs, "epoch")


def _parting(one: Verification) -> str:
    if one.first_epoch is None:
        return ""
    if one.first_step is None:
        return f"from epoch {one.first_epoch} on: "
    loss = "epoch {}, step {}".format(*one.first_step)
    early = "" if one.first_step[0] == one.first_epoch else f"epoch {one.first_epoch}, the losses from "
    return f"from {early}{loss} on: "


def _place(one: Verification) -> str:
    return str(one.machine.get("device_name") or one.machine.get("cpu"))
