"""What is known of the code of this tree, and the entries that say more; see `harness.identity`."""

import datetime
import os
from pathlib import Path
from typing import Any

from harness.commits import git
from harness.errors import UserError
from harness.files import read_json
from harness.grammar import counted
from harness.identity.code import PROVEN, digest
from harness.identity.known import Machine, Proof, read_known, write_known
from harness.progress import say

RECORDED = {
    "data": ("manifest", "reports/*/data.json", "code"),
    "train": ("run", "reports/*/runs/*/train/provenance.json", "hashes.code"),
    "eval": ("evaluation", "reports/*/runs/*/eval/metrics.json", "code"),
}
"""Scope -> its committed records: their name, their files, and the key of the identity that made them."""


def status(root: Path) -> list[str]:
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


def bump(root: Path, scope: str) -> None:
    """Enter the present digest of a scope as an identity of its own. Raises `UserError` when it is known already."""
    if scope not in PROVEN:
        raise UserError(f"scope: got {scope!r}; allowed: {', '.join(PROVEN)}")
    known, code = read_known(root), digest(scope, root)
    if name := known.identity(scope, code):
        raise UserError(f"{scope}: the present code is known, of identity {name[:12]}; there is nothing to enter")
    before = list(known.identities(scope))
    write_known(known.entered(scope, code, entry(root, code)), root)
    say(f"numerics: {scope}: {code[:12]} is an identity of its own from now on")
    if before:
        say(f"numerics: that makes {stale(root, scope, before[-1])}")


def entry(root: Path, code: str, probes: int = 0, against: str | None = None) -> Proof:
    """The entry of a digest as of today, HEAD and this machine."""
    import torch

    from harness import provenance

    found = provenance.machine(torch.device("cpu"), 1)
    machine = Machine(cpu=found["cpu"], instructions=found["instructions"], torch=torch.__version__)
    head = git(root, "rev-parse", "HEAD")
    # A day that a build fixes is taken, so that what is entered can be made again.
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    now = (
        datetime.datetime.fromtimestamp(int(seconds), datetime.UTC) if seconds else datetime.datetime.now(datetime.UTC)
    )
    return Proof(
        digest=code, commit=head.strip() if head else None, machine=machine, probes=probes, against=against,
        when=now.date().isoformat(),
    )  # fmt: skip


def stale(root: Path, scope: str, name: str) -> str:
    what, places, keys = RECORDED[scope]
    count = sum(_value(read_json(path), keys) == name for path in root.glob(places))
    return f"{counted(count, f'committed {what}')} of identity {name[:12]} stale"


def _value(record: Any, keys: str) -> Any:
    for key in keys.split("."):
        record = record.get(key) if isinstance(record, dict) else None
    return record
