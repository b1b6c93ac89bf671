"""Whether the present code computes the numbers of the last known code, and the entry that says so."""

import datetime
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import UserError
from harness.files import read_json
from harness.grammar import counted
from harness.identity.code import PROVEN, digest
from harness.identity.known import Known, Machine, Proof, read_known, write_known
from harness.probes.compare import Difference, comparable, difference
from harness.probes.sides import Commit, Side, commits, read_commit, run_sides, stopped_by_signals, worktree
from harness.probes.table import NEW_SETTINGS, REFUSED, Probe, probes, write_table
from harness.progress import progress, say
from harness.verify.rerun import git

RECORDED = {
    "data": ("reports/*/data.json", "code"),
    "train": ("reports/*/runs/*/train/provenance.json", "hashes.code"),
    "eval": ("reports/*/runs/*/eval/metrics.json", "code"),
}
"""Scope -> committed records, from the root of the repository, and the key that holds the identity that made them."""


@dataclass(frozen=True)
class Outcome:
    """What came of a proof. `compared`: probes per scope; `differences`: of those, each scope's."""

    compared: dict[str, int]
    differences: dict[str, list[Difference]]
    uncompared: list[str]

    @property
    def equal(self) -> bool:
        return not any(self.differences.values())


def unknown(root: Path) -> list[str]:
    """Scopes whose present code is not known."""
    known = read_known(root)
    return [scope for scope in PROVEN if known.identity(scope, digest(scope, root)) is None]


def prove(root: Path, against: str | None = None, jobs: int = 2, only: Sequence[str] = ()) -> bool:
    """Run the present code beside the last known code, print what differs, and enter its digests where nothing does.

    `only`: names of the probes that are run, for a restricted proof; their number is recorded. Returns whether the
    present code is known afterwards. Raises `UserError`.
    """
    known = read_known(root)
    scopes = unknown(root)
    if not scopes:
        say("numerics: the present code is known; nothing to prove")
        return True
    chosen = _chosen(scopes, only)
    with stopped_by_signals(), tempfile.TemporaryDirectory(prefix="numerics-") as temporary:
        folder = Path(temporary)
        reference = _reference(root, folder, known, scopes, against)
        say(
            f"numerics: {', '.join(scopes)}: {counted(len(chosen), 'probe')}, the present code beside "
            f"commit {reference.name[:12]}"
        )
        table = write_table(folder / "table", chosen)
        with worktree(root, reference.name, folder) as tree:
            present = {scope: digest(scope, root) for scope in PROVEN}
            sides = [
                Side(f"commit {reference.name[:12]}", tree, reference.digests, folder / "old"),
                Side("the present code", root, present, folder / "new"),
            ]
            with progress(2 * len(chosen), "numerics", "probes") as advance:
                run_sides(sides, table, jobs > 1, advance)
        outcome = _compared(chosen, folder / "old", folder / "new")
    if not outcome.equal:
        _say_differences(root, known, reference, outcome, chosen)
        return False
    for scope in scopes:
        name = known.identity(scope, reference.digests[scope])
        assert name is not None  # noqa: S101 - the reference was chosen for it
        proof = Proof(
            digest=present[scope],
            commit=_head(root),
            machine=machine(),
            probes=outcome.compared[scope],
            against=reference.digests[scope],
            when=_today(),
        )
        known = known.entered(scope, name, proof)
        count = counted(outcome.compared[scope], "probe")
        say(f"numerics: {scope}: {count} bitwise identical; entered under {name[:12]}")
    for name in outcome.uncompared:
        say(f"numerics: {name}: not compared: its setting is new")
    write_known(known, root)
    return True


def _chosen(scopes: list[str], only: Sequence[str]) -> list[Probe]:
    """Probes of the scopes. Raises `UserError` for a name in `only` that no probe has, or a scope that is left none."""
    everything = probes()
    names = {probe.name for probe in everything}
    if wrong := [name for name in only if name not in names]:
        raise UserError(f"--only: got {wrong[0]!r}; the name of a probe is allowed, as {everything[0].name}")
    chosen = [probe for probe in everything if probe.scope in scopes and (not only or probe.name in only)]
    if left := [scope for scope in scopes if all(probe.scope != scope for probe in chosen)]:
        raise UserError(f"--only: names no probe of scope {left[0]}, whose code is unknown; name one, as {left[0]}-...")
    return chosen


def _reference(root: Path, folder: Path, known: Known, scopes: list[str], against: str | None) -> Commit:
    """The commit whose code the present one is held against: the last one that is known in every unknown scope."""
    for commit in [read_commit(root, against, folder)] if against else commits(root, folder):
        if commit and all(known.identity(scope, commit.digests[scope]) for scope in scopes):
            return commit
    where = f"commit {against} is not known, or older than the probes," if against else "no commit is known"
    raise UserError(
        f"numerics: {where} in scope {', '.join(scopes)}; name one with --against, or see harness numerics bump"
    )


def _compared(chosen: list[Probe], old: Path, new: Path) -> Outcome:
    """Hold the outcomes of both sides against each other. Raises `UserError` for a probe that tests nothing."""
    compared = dict.fromkeys(PROVEN, 0)
    found: dict[str, list[Difference]] = {scope: [] for scope in PROVEN}
    uncompared = []
    for probe in chosen:
        one, other = (read_json(side / f"{probe.name}.json")["outcomes"] for side in (old, new))
        if not comparable(one, NEW_SETTINGS):
            uncompared.append(probe.name)
            continue
        compared[probe.scope] += 1
        if differs := difference(probe.name, one, other, NEW_SETTINGS):
            found[probe.scope].append(differs)
        elif "raised" in other and probe.name not in REFUSED:
            raise UserError(f"{probe.name}: raises on both sides, and so tests nothing: {other['message']}")
    return Outcome(compared, found, uncompared)


def _say_differences(root: Path, known: Known, reference: Commit, outcome: Outcome, chosen: list[Probe]) -> None:
    settings = {probe.name: {**probe.settings, **probe.extra} for probe in chosen}
    for scope, differences in outcome.differences.items():
        if not outcome.compared[scope]:
            continue
        if not differences:
            say(f"numerics: {scope}: {counted(outcome.compared[scope], 'probe')} bitwise identical")
            continue
        say(f"numerics: {scope}: {len(differences)} of {counted(outcome.compared[scope], 'probe')} differ:")
        for one in differences:
            say(f"  {one.line()}")
        say(f"  settings of the first: {json.dumps(settings[differences[0].probe])}")
        name = known.identity(scope, reference.digests[scope]) or reference.digests[scope]
        say(f"  harness numerics bump {scope} would make {_stale(root, scope, name)}")
    say("numerics: nothing was entered")


def bump(root: Path, scope: str) -> None:
    """Enter the present digest of a scope as an identity of its own. Raises `UserError` when it is known already."""
    if scope not in PROVEN:
        raise UserError(f"scope: got {scope!r}; allowed: {', '.join(PROVEN)}")
    known, code = read_known(root), digest(scope, root)
    if name := known.identity(scope, code):
        raise UserError(f"{scope}: the present code is known, of identity {name[:12]}; there is nothing to enter")
    before = list(known.scopes[scope])
    proof = Proof(digest=code, commit=_head(root), machine=machine(), when=_today())
    write_known(known.entered(scope, code, proof), root)
    say(f"numerics: {scope}: {code[:12]} is an identity of its own from now on")
    if before:
        say(f"numerics: that makes {_stale(root, scope, before[-1])}")


def status(root: Path) -> list[str]:
    """A line a scope: its identity and digest, and what is known of them."""
    known = read_known(root)
    lines = []
    for scope in PROVEN:
        code = digest(scope, root)
        found = known.proof(scope, code)
        if found is None:
            lines.append(f"{scope:5}  digest {code[:12]}  unknown; run: harness numerics prove")
            continue
        name, proof = found
        how = f"{counted(proof.probes, 'probe')} against {proof.against[:12]}" if proof.against else "its first code"
        commit = f"commit {proof.commit[:12]}" if proof.commit else "no commit"
        lines.append(f"{scope:5}  digest {code[:12]}  identity {name[:12]}  {commit}  {how}  {proof.when}".rstrip())
    return lines


def _stale(root: Path, scope: str, name: str) -> str:
    """How many committed records have an identity, in words."""
    places, keys = RECORDED[scope]
    count = sum(_value(read_json(path), keys) == name for path in root.glob(places))
    what = {"data": "manifest", "train": "run", "eval": "evaluation"}[scope]
    return f"{counted(count, f'committed {what}')} of identity {name[:12]} stale"


def _value(record: Any, keys: str) -> Any:
    for key in keys.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record


def machine() -> Machine:
    """This machine, as a run records it."""
    import torch

    from harness import provenance

    found = provenance.machine(torch.device("cpu"), 1)
    return Machine(cpu=found["cpu"], instructions=found["instructions"], torch=torch.__version__)


def _head(root: Path) -> str | None:
    head = git(root, "rev-parse", "HEAD")
    return head.strip() if head else None


def _today() -> str:
    # A day that a build fixes is taken, so that what is entered can be made again.
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    now = (
        datetime.datetime.fromtimestamp(int(seconds), datetime.UTC) if seconds else datetime.datetime.now(datetime.UTC)
    )
    return now.date().isoformat()
