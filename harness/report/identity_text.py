"""Under which numerics identity a study's runs were made, and by what proof the present code computes its numbers."""

from harness.grammar import counted
from harness.identity.code import digest
from harness.identity.known import Proof, read_known
from harness.report.cells import Results
from harness.report.markdown import code, plain

SCOPE = "train"
SHORT = 12
"""Characters of a hash that are shown."""


def identity_text(results: Results) -> str:
    """One sentence, beside the table of conditions. Raises `UserError` when known.json cannot be read."""
    present = digest(SCOPE)
    found = read_known().proof(SCOPE, present)
    if found is None:
        return (
            f"The present training code (digest {code(present[:SHORT])}) is of no known numerics identity, so only "
            "runs that were made with this very code count; `harness numerics prove` tests whether it computes the "
            "numbers of a known one."
        )
    name, proof = found
    some = any(cell.run and cell.status in ("finished", "diverged") for cell in results.all)
    runs = f"{'The runs were' if some else 'No run was'} made under numerics identity {code(name[:SHORT])}"
    return f"{runs}, {_proven(proof)}."


def _proven(proof: Proof) -> str:
    if not proof.probes:
        return "and the present training code is the code that the identity began with"
    machine = proof.machine
    where = f" on {plain(f'{machine.cpu} ({machine.instructions}, torch {machine.torch})')}" if machine else ""
    at = f" at commit {code(proof.commit[:SHORT])}" if proof.commit else ""
    when = f" on {plain(proof.when)}" if proof.when else ""
    return (
        f"to which the present training code was proven equal by {counted(proof.probes, 'probe')} that came out "
        f"bitwise identical{where}{at}{when}"
    )
