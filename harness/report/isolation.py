"""The isolation check: each run of a variant against the baseline's run of its seed, and what re-runs found."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from harness.errors import UserError
from harness.files import hash_json, read_json
from harness.net.layout import Layer, layout
from harness.randomness import BATCH_ORDER, INITIAL_WEIGHTS, VARIED, seed_of
from harness.record import Hashes, Run
from harness.report.circumstances import CONDITIONS
from harness.report.format import joined, paragraphs, value
from harness.report.runs import Result, Results
from harness.settings.parse import parse
from harness.settings.schema import MACHINE, Settings
from harness.settings.study import Study, changed

FILE = "verified.json"


class Noise(BaseModel):
    """A re-run with other bits against the recorded runs of its variant, which differ by their seeds.

    `value`: what the re-run came to in `name` (an error in percent; of first steps, their mean loss). `low`, `high`:
    where the runs of further seeds would lie, at a confidence of 95 % over all runs of the verification.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: str
    value: float
    low: float
    high: float
    runs: int

    @property
    def within(self) -> bool:
        return self.low <= self.value <= self.high


class Verification(BaseModel):
    """One re-run. `record`: identity of the record that it was held against, see `identity`.

    `epochs`: how many were re-run, of `of`, and `steps`, whose losses were compared (0: the record has none).
    `when`: UTC, ISO 8601. `commit`, `dirty`: the code that ran. `machine`, `versions`: where. `differs`: what came out
    otherwise, with the first epoch in which it shows (None: in none), epoch and step of the first loss that differs,
    all from 1, and the likely cause. `noise`: of a machine with other bits, whether it agrees within noise.
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
    noise: Noise | None = None

    @property
    def within(self) -> bool:
        """Whether it has other bits, of another machine, and agrees within noise."""
        return self.noise is not None and self.noise.within

    @property
    def whole(self) -> bool:
        """Whether the whole run was re-run, not its first epochs alone."""
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
    stored = read_verified(root / study.folder / FILE)
    records = {cell.key: identity(cell.run.fingerprint, cell.run.hashes) for cell in cells if cell.run}
    held = {key: stored[key] for key, record in records.items() if key in stored and stored[key].record == record}
    equal = [verification for verification in held.values() if verification.verified]
    first = [verification for verification in equal if not verification.whole]
    parts = paragraphs(
        "verified",
        of=len(cells),
        whole=[verification for verification in equal if verification.whole],
        first=first,
        least=min(first, key=lambda verification: (verification.epochs, verification.steps), default=None),
        noisy=[verification for verification in held.values() if verification.within],
        lost={key: one for key, one in held.items() if not one.verified and not one.within},
    )
    return "; ".join(parts) or "not yet"


MOVES_ORDER = frozenset({"reshuffle", "epochs"})
"""Settings that declare to change the hash over the batch order: `batch` cuts the same order in other places."""

MOVES_DRAWS = frozenset(
    {
        "augment", "crops", "flips", "crop", "crop_positions", "crop_chunk", "colour", "colour_scale", "colour_until",
        "epochs", "batch",
    }
)  # fmt: skip
"""Settings that declare to change the augmentation stream: what is drawn, or for how many images and steps."""

MOVES_CONDITION = {"device": {"device"}, "threads": {"threads"}}
"""Conditions of a run that a setting may change, and which."""

Verdict = Literal["proven", "fails", "open"]
"""open: there is no pair of runs to show it on."""


@dataclass(frozen=True)
class Pair:
    """One run of a variant against the baseline's of the same seed.

    `changed`: settings in which their records differ. `moved`: streams that differ because a changed setting says so.
    `initial_equal`: layers whose initial weights are the same; `initial_affected`: those that the switch changes or
    that one net alone has. `failures`: what differs and should not; `unshown`: what the records cannot tell, and why.
    """

    seed: int
    changed: list[str]
    moved: list[str]
    initial_equal: list[str]
    initial_affected: list[str]
    failures: list[str]
    unshown: list[str]


@dataclass(frozen=True)
class IsolationCheck:
    """A variant's proof over its pairs. `alone`: seeds that have no run, here or of the baseline."""

    variant: str
    declared: list[str]
    pairs: list[Pair]
    alone: list[int]

    @property
    def verdict(self) -> Verdict:
        if any(pair.failures for pair in self.pairs):
            return "fails"
        return "proven" if self.pairs else "open"

    def union(self, attribute: str) -> list[str]:
        """What any of the pairs has in one of its lists."""
        return list(dict.fromkeys(name for pair in self.pairs for name in getattr(pair, attribute)))


def proofs(study: Study, results: Results) -> list[IsolationCheck]:
    """A proof a variant."""
    baseline = {cell.seed: cell.ended for cell in results.of(study.baseline)}
    checks = []
    for variant in study.variants:
        if variant == study.baseline:
            continue
        changes, nets = study.differences(variant), (study.variants[study.baseline], study.variants[variant])
        ended = {cell.seed: (baseline[cell.seed], cell.ended) for cell in results.of(variant)}
        pairs = [compare(changes, nets, base, run) for base, run in ended.values() if base and run]
        alone = [seed for seed, (base, run) in ended.items() if not (base and run)]
        checks.append(IsolationCheck(variant, list(changes), pairs, alone))
    return checks


def compare(declared: Iterable[str], nets: tuple[Settings, Settings], base: Run, run: Run) -> Pair:
    """Hold a variant's run against the baseline's; `nets`: the declared settings of baseline and variant."""
    expected = set(declared)
    moving = changed(base.settings, run.settings)
    failures = [f"{key} changed, undeclared" for key in moving if key not in expected and key not in MACHINE]
    failures += [f"{key} is declared, but the same" for key in sorted(expected - set(moving) - set(MACHINE))]
    failures += _conditions(expected, base, run)
    moved: list[str] = []
    unshown: list[str] = []
    for name, key, movers, sources in (
        ("batch order", "batch_order", MOVES_ORDER, (BATCH_ORDER,)),
        ("augmentation stream", "augmentation", MOVES_DRAWS, VARIED["augmentation"]),
    ):
        if getattr(base.hashes, key) == getattr(run.hashes, key):
            continue
        if expected & movers or _reseeded(nets, run.seed, *sources):
            moved.append(name)
        elif len(base.history) != len(run.history):
            unshown.append(f"{name}: one of the runs ended early")
        else:
            failures.append(f"{name} differs")
    equal, affected, wrong = _initial(nets, base, run)
    return Pair(run.seed, moving, moved, equal, affected, failures + wrong, unshown)


def _reseeded(nets: tuple[Settings, Settings], seed: int, *sources: str) -> bool:
    """Whether one of two nets draws from these sources with another seed, since it holds them."""
    return any(len({seed_of(net.vary, seed, source) for net in nets}) > 1 for source in sources)


def _conditions(expected: set[str], base: Run, run: Run) -> list[str]:
    """Images, numerics identity, and what of machine and versions the numbers depend on."""
    failures = []
    for name, matters, tell in CONDITIONS:
        values = tell(base), tell(run)
        if matters and values[0] != values[1] and not expected & MOVES_CONDITION.get(name, set()):
            failures.append(f"{name}: {values[0]} against {values[1]}")
    # CONDITIONS shows short hashes; these are compared whole.
    for name, key in (("data", "data"), ("numerics identity", "code")):
        if getattr(base.hashes, key) != getattr(run.hashes, key) and not any(f.startswith(name) for f in failures):
            failures.append(f"{name} differs")
    return failures


def _initial(nets: tuple[Settings, Settings], base: Run, run: Run) -> tuple[list[str], list[str], list[str]]:
    """Layers whose initial weights are equal, those that the switch affects, and what is wrong."""
    # The channels are the images', the same for both.
    one, other = ({row.name: _drawn(row) for row in layout(net, classes=run.images.classes)} for net in nets)
    reseeded = _reseeded(nets, run.seed, INITIAL_WEIGHTS)
    equal, affected, wrong = [], [], []
    for name in dict.fromkeys([*one, *other, *base.hashes.initial, *run.hashes.initial]):
        hashes = base.hashes.initial.get(name), run.hashes.initial.get(name)
        sides = (("baseline", one, hashes[0]), ("variant", other, hashes[1]))
        # What a layer holds beside its weights (as `conv1.norm`) is in no table.
        lacking = [side for side, rows, digest in sides
                   if (digest is None if name in rows else digest and name.partition(".")[0] not in rows)]  # fmt: skip
        if lacking:
            wrong.append(f"{name}: the record of the {joined(lacking)} does not fit its net")
        elif hashes[0] == hashes[1]:
            equal.append(name)
        elif name in one and name in other and one[name] == other[name] and not reseeded:
            wrong.append(f"initial weights of {name} differ")
        else:
            affected.append(name)
    return equal, affected, wrong


def _drawn(row: Layer) -> Layer:
    """A layer as far as its initial weights depend on it: shape, sd and biases."""
    # A locally connected layer has weights for each place, so its side is part of their shape.
    side = row.side if row.kind == "local" else 1
    return replace(row, stride=1, pad=0, pad_end=0, side=side, after=(), lr_factor=1.0, decay_factor=1.0)


# ---- as CSV

PROOF_COLUMNS = [
    "variant", "seed", "verdict", "why", "declared", "changed", "moved", "initial_equal", "initial_affected", "unshown",
    "baseline_fingerprint", "fingerprint", "data", "code",
]  # fmt: skip

LISTS = ("changed", "moved", "initial_equal", "initial_affected", "unshown")
"""Columns that are a pair's lists."""


def proof_csv(checks: Iterable[IsolationCheck], study: Study, results: Results) -> list[dict[str, Any]]:
    """A row a declared run beside the baseline's; lists are joined by `; `."""
    table: list[dict[str, Any]] = []
    runs = {(cell.variant, cell.seed): cell.run for cell in results.cells}
    for proof in checks:
        changes = study.differences(proof.variant)
        declared = "; ".join(f"{key}: {value(a)} -> {value(b)}" for key, (a, b) in changes.items())
        pairs = {pair.seed: pair for pair in proof.pairs}
        for seed in study.seeds:
            row: dict[str, Any] = {"variant": proof.variant, "seed": seed, "verdict": "open", "why": "no pair of runs"}
            pair, base, run = pairs.get(seed), runs[study.baseline, seed], runs[proof.variant, seed]
            if pair and base and run:
                row |= {name: "; ".join(getattr(pair, name)) for name in LISTS}
                row |= {"verdict": "fails" if pair.failures else "proven", "why": "; ".join(pair.failures)}
                row |= {"data": run.hashes.data, "code": run.hashes.code}
                row |= {"baseline_fingerprint": base.fingerprint, "fingerprint": run.fingerprint}
            table.append(row | {"declared": declared})
    return table
