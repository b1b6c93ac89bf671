"""Under which numerics identity a study's runs were made, and by what proof the present code computes its numbers."""

from harness.identity.code import digest
from harness.identity.known import read_known
from harness.report.cells import Results
from harness.report.template import paragraph

SCOPE = "train"
SHORT = 12
"""Characters of a hash that are shown."""


def identity_text(results: Results) -> str:
    """One sentence, beside the table of conditions. Raises `UserError` when known.json cannot be read."""
    present = digest(SCOPE)
    runs = any(cell.ended for cell in results.all)
    return paragraph("identity", present=present, known=read_known().proof(SCOPE, present), runs=runs, short=SHORT)
