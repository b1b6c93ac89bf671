"""All that a report tells, computed once: its text and its tables are made from this and from nothing else."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from harness.claims.ledger import ClaimRow
from harness.report import circumstances, claims, evidence, isolation, other_effects, variants
from harness.report.runs import Results
from harness.report.variants import Candidate, candidate_row
from harness.settings import declared
from harness.settings.schema import Settings
from harness.settings.study import Study
from harness.statistics.images import ImageEvidence


@dataclass(frozen=True)
class Findings:
    """What the results of a study come to. Each part raises `UserError` for a result that is broken.

    `given`: the candidate's settings and seed, where one is declared. `root`: below it lies everything that is read.
    """

    study: Study
    results: Results
    given: tuple[Settings, int] | None
    root: Path

    @cached_property
    def standing(self) -> variants.Standing:
        return variants.standing(self.study, self.results)

    @cached_property
    def rows(self) -> list[variants.VariantRow]:
        return variants.variant_rows(self.study, self.results)

    @cached_property
    def candidate(self) -> Candidate | None:
        return candidate_row(self.study, self.given, self.results)

    @cached_property
    def evidence(self) -> dict[str, ImageEvidence | None]:
        return evidence.evidence_rows(self.study, self.results)

    @cached_property
    def effects(self) -> other_effects.Effects:
        """What stands beside the compared error: ranks, gaps, times, designs."""
        return other_effects.effects_of(self.study, self.results)

    @cached_property
    def claims(self) -> list[ClaimRow]:
        """The paper's claims; they are judged when the study is done."""
        return [] if self.standing.interim else claims.ledger_rows(self.study, self.results, self.root)

    @cached_property
    def proofs(self) -> list[isolation.IsolationCheck]:
        return isolation.proofs(self.study, self.results)

    @cached_property
    def conditions(self) -> list[circumstances.Condition]:
        return circumstances.conditions(self.results)

    @cached_property
    def declarations(self) -> list[declared.Entry]:
        return declared.read(self.study, self.root)
