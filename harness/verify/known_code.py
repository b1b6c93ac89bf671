"""What is known of the code of this tree, and the entries that say more; see `harness.identity`."""

import datetime
from pathlib import Path

from harness.commits import commit_of
from harness.errors import UserError
from harness.files import read_json
from harness.grammar import counted
from harness.identity.code import PROVEN, digest
from harness.identity.known import Machine, Proof, read_known, write_known
from harness.process import native_instructions
from harness.progress import say

RECORDED = {
    "data": ("manifest", "reports/*/data.json"),
    "train": ("run", "reports/*/runs/*/train/provenance.json"),
    "eval": ("evaluation", "reports/*/runs/*/eval/metrics.json"),
}
"""Scope -> its committed records, which hold the identity that made them: their name and their files."""


def status(root: Path) -> list[str]:
    known = read_known(root)
    lines = []
    for scope in PROVEN:
        code = digest(scope, root)
        proven = known.proof(scope, code)
        if proven is None:
            lines.append(f"{scope:5}  digest {code[:12]}  unknown; run: harness numerics prove")
            continue
        name, proof = proven
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

    here = provenance.machine(torch.device("cpu"), 1)
    machine = Machine(cpu=here["cpu"], instructions=native_instructions(), torch=torch.__version__)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Proof(
        digest=code, commit=commit_of("HEAD", root), machine=machine, probes=probes, against=against, when=today
    )


def stale(root: Path, scope: str, name: str) -> str:
    kind, places = RECORDED[scope]
    records = [read_json(path) for path in root.glob(places)]
    count = sum(record.get("hashes", record).get("code") == name for record in records)
    return f"{counted(count, f'committed {kind}')} of identity {name[:12]} stale"
