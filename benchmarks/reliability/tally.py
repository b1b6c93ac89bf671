"""What was tried, and what became of it."""

from dataclasses import dataclass, field

COLUMNS = ("kind", "what", "tried", "survived", "lost", "note")


@dataclass
class Count:
    """Trials of one sort: each is counted when its outcome is known, and not before."""

    tried: int = 0
    lost: int = 0
    note: str = ""
    failures: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """Counts by kind and what was done, in the order in which they were first seen."""

    counts: dict[tuple[str, str], Count] = field(default_factory=dict)

    def add(self, kind: str, what: str, survived: bool, why: str = "", times: int = 1, note: str = "") -> None:
        """Count `times` trials with one outcome. `why`: what was found where they did not survive."""
        count = self.counts.setdefault((kind, what), Count())
        count.tried += times
        count.note = note or count.note
        if not survived:
            count.lost += times
            count.failures.append(why)

    def over(self, kept: "Tally") -> "Tally":
        """These counts laid over those of a run before: what was tried again replaces what was counted then."""
        return Tally({key: self.counts.get(key, kept.counts.get(key, Count())) for key in [*kept.counts, *self.counts]})

    def rows(self) -> list[dict[str, object]]:
        """Rows of reliability.csv; the note of a row with losses begins with the first of them."""
        kinds = list(dict.fromkeys(kind for kind, _ in self.counts))
        return [
            {
                "kind": kind,
                "what": what,
                "tried": count.tried,
                "survived": count.tried - count.lost,
                "lost": count.lost,
                "note": "; ".join(part for part in (*count.failures[:1], count.note) if part),
            }
            for (kind, what), count in sorted(self.counts.items(), key=lambda item: kinds.index(item[0][0]))
        ]

    def tried(self, kind: str) -> int:
        """Trials of a kind."""
        return sum(count.tried for (k, _), count in self.counts.items() if k == kind)

    @property
    def lost(self) -> int:
        """Trials that did not survive."""
        return sum(count.lost for count in self.counts.values())
