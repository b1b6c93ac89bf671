"""Whether the present code computes the numbers of the last known code, and the entry that says so."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UserError
from harness.files import read_json
from harness.grammar import counted
from harness.identity.code import PROVEN, digest
from harness.identity.known import Known, read_known, unknown, write_known
from harness.progress import progress, say
from harness.verify.known_code import entry, stale
from tests.probes.compare import Difference, comparable, difference
from tests.probes.sides import Commit, Side, commits, read_commit, run_sides, stopped_by_signals, worktree
from tests.probes.table import NEW_SETTINGS, REFUSED, Probe, probes, write_table


@dataclass(frozen=True)
class Outcome:
    """What came of a proof. `compared`: probes per scope; `differences`: of those, each scope's."""

    compared: dict[str, int]
    differences: dict[str, list[Difference]]
    uncompared: list[str]

    @property
    def equal(self) -> bool:
        return not any(self.differences.values())


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
        assert name is not None
        proof = entry(root, present[scope], outcome.compared[scope], reference.digests[scope])
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
        say(f"  harness numerics bump {scope} would make {stale(root, scope, name)}")
    say("numerics: nothing was entered")
