"""What `harness report --strict` fails on: rows that are not there, were not made alike, or cannot be made again."""

from collections import Counter

from harness.report.conditions import other_weights, uncommitted
from harness.report.findings import Findings
from harness.report.template import paragraphs
from harness.settings import declared


def faults(found: Findings) -> list[str]:
    """A line for each thing that should be one for all runs and is not, and for each row that is not what it says.

    Runs that are not there, unless the report is early on purpose (one that diverged is a result); a declaration that
    was not written down; images, code and environment as far as numbers depend on them; a variant of which more than
    its switch changed; runs of changes that no commit holds; errors of other weights than the recorded ones. Raises
    `UserError`.
    """
    study, results, seen = found.study, found.results, found.declarations
    lost = [] if results.early else [cell for cell in results.cells if cell.status in ("missing", "stale")]
    outdated = bool(seen) and seen[-1].declaration != study.declaration
    return paragraphs(
        "strict",
        lost=lost,
        counts=Counter(cell.status for cell in lost),
        of=len(results.cells),
        stale=list(dict.fromkeys(cell.note for cell in lost if cell.status == "stale")),
        file=declared.path_of(study),
        seen=seen,
        outdated=outdated,
        changed=list(declared.differing(seen[-1].statement, study.statement)) if outdated else [],
        mixed=[condition for condition in found.conditions if condition.matters and condition.mixed],
        failing=[
            (proof.variant, list(dict.fromkeys(failure for pair in proof.pairs for failure in pair.failures)))
            for proof in found.proofs
            if proof.verdict == "fails"
        ],
        uncommitted=uncommitted(results),
        reweighted=other_weights(results),
    )
