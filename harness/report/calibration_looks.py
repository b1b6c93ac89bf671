"""The calibration's section on looking early: what the rule of the looks keeps, and what it costs and saves."""

from collections.abc import Sequence

from harness.statistics.calibrate import ALLOWED, ALPHA, BEYOND, MARGIN, NOISES
from harness.statistics.calibrate_looks import LookCell, misses_of_looks
from harness.statistics.sequential import nominal

FILE = "looks.csv"


def looks_section(cells: Sequence[LookCell], folder: str, family: int) -> list[str]:
    """The section in Markdown; nothing without cells. `family`: comparisons of the studies in the second table."""
    if not cells:
        return []
    promised = [c for c in cells if c.noise not in BEYOND and c.effect == 0]
    worst = max(promised, key=lambda c: c.family_error)
    unruled = max(promised, key=lambda c: c.unruled)
    return [
        "## Looking early",
        "",
        f"Studies that are looked at more than once, judged at each look by the rule that `looks` declares: "
        f"**{_answer(cells)}** Family-wise error over all looks is at most {_percent(worst.family_error)} "
        f"({_where(worst)}), without the rule, each look at {100 * ALPHA:g} %, up to {_percent(unruled.unruled)} "
        f"({_where(unruled)}). Coverage: of the intervals of all looks together. Equivalent: called so at some look "
        f"with a true difference as large as the margin of {MARGIN:g} sd. Worst cells over all plans and numbers of "
        f"comparisons, {min(c.studies for c in cells):,} studies each:",
        "",
        "| noise | family-wise error | without the rule | least coverage | equivalent at the margin |",
        "|:--|--:|--:|--:|--:|",
        *(_noise_row(cells, noise) for noise in NOISES if any(c.noise == noise for c in cells)),
        "",
        f"What it costs and saves: normal noise, {family} comparisons, a difference of {MARGIN:g} sd in the first. "
        "Found: at some look, and by one look at the end with all of alpha. Seeds: mean number, where a study stops "
        "once it is found.",
        "",
        "| looks at seeds | alpha of each | found, % | by one look, % | seeds |",
        "|:--|:--|--:|--:|--:|",
        *_plan_rows(cells, family),
        "",
        f"Every cell: [{FILE}]({folder}/{FILE}).",
        "",
    ]


def _answer(cells: Sequence[LookCell]) -> str:
    missing = misses_of_looks(cells)
    if not missing:
        return "it errs no more than it may in any cell."
    where = ", ".join(sorted({f"{c.noise} ({c.looks} seeds, {c.comparisons} compared)" for c in missing}))
    return f"it misses what is allowed (alpha and {100 * ALLOWED:g} points) in {len(missing)} cells: {where}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _where(cell: LookCell) -> str:
    return f"`{cell.noise}`, looks at {cell.looks.replace('-', ', ')} seeds, {cell.comparisons} compared"


def _noise_row(cells: Sequence[LookCell], noise: str) -> str:
    null = [c for c in cells if c.noise == noise and c.effect == 0]
    margin = [c for c in cells if c.noise == noise and c.effect == MARGIN]
    shares = (
        max(c.family_error for c in null),
        max(c.unruled for c in null),
        min(c.coverage for c in null),
        max(c.equivalent for c in margin),
    )
    beyond = " (beyond what is promised)" if noise in BEYOND else ""
    return f"| `{noise}`{beyond} | {' | '.join(map(_percent, shares))} |"


def _plan_rows(cells: Sequence[LookCell], family: int) -> list[str]:
    own = [c for c in cells if (c.noise, c.comparisons, c.effect) == ("normal", family, MARGIN)]
    rows = []
    for c in own:
        plan = tuple(int(n) for n in c.looks.split("-"))
        alphas = ", ".join(f"{alpha:.2g}" for alpha in nominal(plan, ALPHA, family))
        found = f"{100 * c.power:.0f} | {100 * c.once:.0f} | {c.seeds_used:.1f}"
        rows.append(f"| {', '.join(map(str, plan))} | {alphas} | {found} |")
    return rows
