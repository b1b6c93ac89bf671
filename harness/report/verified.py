"""What verifications of a study's runs have found: reports/<study>/verified.json, written by `harness verify`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from harness.errors import UserError
from harness.files import hash_json, read_json
from harness.record import Hashes
from harness.report.cells import Result
from harness.report.template import paragraphs
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

    @property
    def place(self) -> str:
        where = self.machine.get("device_name") or self.machine.get("cpu")
        return f"{where}, torch {self.versions.get('torch')}, {self.when[:10]}"


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
    records = {cell.key: identity(cell.run.fingerprint, cell.run.hashes) for cell in cells if cell.run}
    held = {key: found[key] for key, record in records.items() if key in found and found[key].record == record}
    sound = [one for one in held.values() if one.verified]
    first = [one for one in sound if not one.whole]
    parts = paragraphs(
        "verified",
        of=len(cells),
        whole=[one for one in sound if one.whole],
        first=first,
        least=min(first, key=lambda one: (one.epochs, one.steps), default=None),
        lost={key: one for key, one in held.items() if not one.verified},
    )
    return "; ".join(parts) or "not yet"
