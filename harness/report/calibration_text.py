"""The calibration's page: which test errs how often and where, in words and tables made from the simulated cells."""

import math
from collections.abc import Mapping, Sequence

from harness.report.calibration_figures import FAMILY
from harness.statistics.calibrate import (
    ALLOWED,
    ALPHA,
    BEYOND,
    MARGIN,
    METHODS,
    NOISES,
    SEEDS,
    Cell,
    Floats,
    choose,
    mean_power,
    misses,
    scales,
)
from harness.statistics.judging import DEFAULT


def text(cells: Sequence[Cell], folder: str, residuals: Mapping[str, Floats], more: Sequence[str] = ()) -> str:
    """The report in Markdown. `residuals`: of the studies that noise is made from; `more`: more sections' lines."""
    studies = max((c.studies for c in cells), default=0)
    best = choose(cells)
    lines = [
        "# How often the tests err",
        "",
        _answer(cells, best),
        "",
        f"Each row of [calibration.csv]({folder}/calibration.csv) is a kind of study: noise, seeds, comparisons with "
        f"one baseline, test, planted difference. Of each, {studies:,} studies were simulated and judged by the "
        "functions that judge the report (fewer for the sign-flip test with many seeds; the column `studies` "
        "says how many). "
        f"Nothing was planted but in the first variant. Alpha is {100 * ALPHA:g} %, the margin of equivalence "
        f"{MARGIN:g} sd of a run. " + _real(residuals),
        "",
        "## What is allowed, and who keeps it",
        "",
        f"From 5 seeds on: family-wise error at most {100 * (ALPHA + ALLOWED):g} % (a study in which nothing differs "
        f"calls something different), coverage of each {100 * (1 - ALPHA):g} % interval at least "
        f"{100 * (1 - ALPHA - ALLOWED):g} %. Worst cells of each test; power is the mean over the cells of normal "
        "noise with a planted difference of 2 sd. A cell of fewer than 10,000 studies misses only when it "
        "errs by more than the simulation itself is uncertain:",
        "",
        "| test | cells | that miss | worst family-wise error | least coverage | power |",
        "|:--|--:|--:|:--|:--|--:|",
        *(_method_row(cells, method) for method in METHODS),
        "",
        f"![Family-wise error and coverage by noise, 5 seeds, {FAMILY} comparisons]({folder}/errors.svg)",
        "",
        f"Five seeds, {FAMILY} comparisons. Dashed: what is allowed. Too far left of it in coverage, or right of it in "
        "error, is a miss; a test far on the safe side wastes power.",
        "",
        f"![Power over the planted difference, {FAMILY} comparisons]({folder}/power.svg)",
        "",
        f"Normal noise, {FAMILY} comparisons. Dashed: 80 %.",
        "",
        f"![Verdicts of the default test over the planted difference]({folder}/verdicts.svg)",
        "",
        f"Test `{DEFAULT}`, normal noise, {FAMILY} comparisons.",
        "",
        "## Where a test misses",
        "",
        *_missing(cells),
        "",
        "## With fewer than 5 seeds",
        "",
        "No promise is made there. `block` pools nothing below 5 seeds or 3 comparisons, and is the paired t test with "
        "Holm's adjustment:",
        "",
        "| seeds | test | worst family-wise error | least coverage |",
        "|--:|:--|:--|:--|",
        *(_few_row(cells, n, method) for n in SEEDS if n < 5 for method in METHODS),
        "",
        "## Beyond what is promised",
        "",
        "Noise of kinds that the judgement above leaves out. In `runs-apart`, where all arms differ in scale, "
        "`paired_t` still keeps to what is allowed; in noise that is skewed and of another size in one arm, no test "
        "does:",
        "",
        *_beyond(cells),
        "",
        *more,
        "## Noise",
        "",
        *(_noise_line(cells, name) for name in NOISES),
        "",
        "How each test works: "
        "[method.md](method.md). Made again by `harness calibrate`; the draws are the same each time.",
        "",
    ]
    return "\n".join(lines)


def _real(residuals: Mapping[str, Floats]) -> str:
    """What the noise of real runs is made from."""
    if not residuals:
        return "No committed study was there to take residuals from."
    parts = []
    for name, table in residuals.items():
        df, _ = scales(table)
        scatter = f"as draws with {df:.1f} degrees of freedom do" if math.isfinite(df) else "no more than chance has it"
        parts.append(f"`{name}` ({table.shape[1]} arms of {len(table)} seeds: {scatter})")
    return (
        f"The noise `runs` is made from residuals of the committed studies. How much the variances of a study's arms "
        f"scatter, beyond what so few seeds make of equal ones: {', '.join(parts)}."
    )


def _answer(cells: Sequence[Cell], best: str | None) -> str:
    if best is None:
        return "**Every test misses what is allowed somewhere; the table says where.**"
    paired, own = (100 * mean_power(cells, method) for method in ("paired_t", best))
    same = (
        "It is the default test of a study."
        if best == DEFAULT
        else f"**The default test of a study is `{DEFAULT}`, which this run does not pick.**"
    )
    return (
        f"The test that errs no more than it may in any cell with 5 seeds or more, and finds most, is `{best}`: it "
        f"finds a difference of 2 sd in {own:.0f} % of studies (mean over the cells of normal noise), the paired t "
        f"test with Holm's adjustment in {paired:.0f} %. {same}"
    )


def _noise_line(cells: Sequence[Cell], noise: str) -> str:
    own = [c for c in cells if c.noise == noise]
    if not own:
        return f"- `{noise}`: {NOISES[noise]}. Not simulated."
    seeds, compared = (", ".join(map(str, sorted({getattr(c, key) for c in own}))) for key in ("seeds", "comparisons"))
    return f"- `{noise}`: {NOISES[noise]}. Seeds {seeds}; comparisons {compared}."


def _nulls(cells: Sequence[Cell], method: str) -> list[Cell]:
    return [c for c in cells if c.test == method and c.effect == 0 and c.noise not in BEYOND]


def _where(cell: Cell) -> str:
    return f"`{cell.noise}`, {cell.seeds} seeds, {cell.comparisons} compared"


def _worst(cells: Sequence[Cell]) -> tuple[Cell, Cell]:
    """The cell of the largest family-wise error, and that of the least coverage."""
    return max(cells, key=lambda c: c.family_error), min(cells, key=lambda c: c.coverage)


def _method_row(cells: Sequence[Cell], method: str) -> str:
    own = [c for c in _nulls(cells, method) if c.seeds >= 5]
    if not own:
        return f"| `{method}` | 0 | – | – | – | – |"
    error, cover = _worst(own)
    return (
        f"| `{method}` | {len(own)} | {len(misses(cells, method))} "
        f"| {100 * error.family_error:.1f} % ({_where(error)}) "
        f"| {100 * cover.coverage:.1f} % ({_where(cover)}) | {100 * mean_power(cells, method):.0f} % |"
    )


def _few_row(cells: Sequence[Cell], n: int, method: str) -> str:
    own = [c for c in _nulls(cells, method) if c.seeds == n]
    if not own:
        return f"| {n} | `{method}` | – | – |"
    error, cover = _worst(own)
    return (
        f"| {n} | `{method}` | {100 * error.family_error:.1f} % (`{error.noise}`, {error.comparisons} compared) "
        f"| {100 * cover.coverage:.1f} % (`{cover.noise}`, {cover.comparisons} compared) |"
    )


def _missing(cells: Sequence[Cell]) -> list[str]:
    lines = []
    for method in METHODS:
        own = misses(cells, method)
        if not own:
            lines.append(f"- `{method}`: nowhere.")
            continue
        by_noise = {
            noise: [c for c in own if c.noise == noise] for noise in NOISES if any(c.noise == noise for c in own)
        }
        parts = [
            f"`{noise}` ({len(of)} cells; error up to {100 * max(c.family_error for c in of):.1f} %, coverage down to "
            f"{100 * min(c.coverage for c in of):.1f} %)"
            for noise, of in by_noise.items()
        ]
        lines.append(f"- `{method}`: {', '.join(parts)}.")
    return lines


def _beyond(cells: Sequence[Cell]) -> list[str]:
    lines = []
    for noise in BEYOND:
        for method in METHODS:
            own = [c for c in cells if c.noise == noise and c.test == method and c.effect == 0 and c.seeds >= 5]
            if own:
                lines.append(
                    f"- `{noise}`, `{method}`: family-wise error up to {100 * max(c.family_error for c in own):.1f} %, "
                    f"coverage of the odd variant's interval down to {100 * min(c.coverage for c in own):.1f} %."
                )
    return lines
