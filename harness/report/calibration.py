"""The report on the tests themselves: how often they err, and what they find, by simulation."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from harness.errors import UserError
from harness.files import write_bytes, write_csv, write_text
from harness.progress import say
from harness.report.calibration_looks import looks_section, write_looks
from harness.report.noise import section as real_runs
from harness.statistics.calibrate import (
    ALLOWED,
    ALPHA,
    BEYOND,
    COMPARISONS,
    EFFECTS,
    MARGIN,
    METHODS,
    NOISES,
    SEEDS,
    Cell,
    Floats,
    choose,
    mean_power,
    misses,
    residuals_of,
    simulate,
)
from harness.statistics.calibrate_looks import LOOKS, LookCell, simulate_looks
from harness.statistics.comparison import DEFAULT
from harness.style import BLUE, GREEN, GREY, INK, ORANGE, style, svg

COLOURS = {"paired_t": ORANGE, "block": BLUE, "moderated": GREEN, "sign_flip": INK, "plain_block": GREY}
MARKERS = {"paired_t": "s", "block": "o", "moderated": "^", "sign_flip": "x", "plain_block": "D"}
FAMILY = 7
"""Comparisons of the study that the figures show: as many as the default study has."""


def calibrate(
    out: Path,
    studies: int,
    root: Path,
    seeds: Sequence[int] = SEEDS,
    comparisons: Sequence[int] = COMPARISONS,
    methods: Sequence[str] = METHODS,
    plans: Sequence[tuple[int, ...]] = LOOKS,
) -> Path:
    """Simulate the grid and write `out`.md, and figures and CSV into `out`. Returns the report's path."""
    residuals = read_residuals(root)
    cells: list[Cell] = []
    looks: list[LookCell] = []
    for noise in NOISES:
        own = list(simulate(studies, residuals, (noise,), seeds, comparisons, methods))
        say(f"calibrate: {noise}: {len(own)} cells of up to {studies:,} studies" if own else f"calibrate: no {noise}")
        cells += own
        looks += simulate_looks(studies, residuals, (noise,), plans, comparisons)
    rows = [{key: _rounded(value) for key, value in asdict(cell).items()} for cell in cells]
    write_csv(out / "calibration.csv", rows, [field.name for field in fields(Cell)])
    write_looks(out, looks)
    for name, picture in (("errors", errors_figure(cells)), ("power", power_figure(cells)),
                          ("verdicts", verdicts_figure(cells))):  # fmt: skip
        write_bytes(out / f"{name}.svg", picture)
    report = out.with_suffix(".md")
    more = [*looks_section(looks, out.name, FAMILY), *real_runs(root, out)]
    write_text(report, text(cells, out.name, studies, len(residuals), more))
    return report


def _rounded(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def read_residuals(root: Path) -> list[Floats]:
    """Residuals (seeds, arms) of the committed studies below `root`: those with three arms and three seeds at least."""
    tables = []
    for path in sorted((root / "reports").glob("*/cells.csv")):
        arms: dict[str, dict[str, float]] = {}
        try:
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    if row["status"] == "finished" and row["variant"] != "candidate":
                        arms.setdefault(row["variant"], {})[row["seed"]] = float(row["test_top1"])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path}: not a report's table of cells: {error!r}; make the report again") from error
        seeds = sorted(set.intersection(*(set(values) for values in arms.values()))) if arms else []
        if len(arms) >= 3 and len(seeds) >= 3:
            tables.append(residuals_of(np.array([[values[seed] for values in arms.values()] for seed in seeds])))
    return tables


# ---- figures


def errors_figure(cells: Sequence[Cell]) -> bytes:
    """Family-wise error by noise for 5 seeds and FAMILY comparisons, a mark a test, with what is allowed."""
    own = [c for c in cells if c.effect == 0 and c.seeds == 5 and c.comparisons == FAMILY]
    noises = [noise for noise in NOISES if any(c.noise == noise for c in own)]
    with style():
        figure = Figure(figsize=(7.6, 0.8 + 0.3 * max(len(noises), 1)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for method in METHODS:
            mine = {c.noise: c for c in own if c.test == method}
            shown = [n for n in noises if n in mine]
            look: dict[str, Any] = {
                "color": COLOURS[method], "marker": MARKERS[method], "linestyle": "none", "markersize": 5,
            }  # fmt: skip
            places = [noises.index(n) for n in shown]
            left.plot([100 * mine[n].family_error for n in shown], places, label=method, **look)
            right.plot([100 * mine[n].coverage for n in shown], places, **look)
        left.axvline(100 * (ALPHA + ALLOWED), color=INK, linewidth=1, linestyle="--")
        right.axvline(100 * (1 - ALPHA - ALLOWED), color=INK, linewidth=1, linestyle="--")
        left.set_yticks(range(len(noises)), noises)
        left.set_ylim(len(noises) - 0.5, -0.5)
        left.set_xlabel("family-wise error in %")
        right.set_xlabel("least coverage in %")
        figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8)
        return svg(figure)


def power_figure(cells: Sequence[Cell]) -> bytes:
    """Power over the planted effect, normal noise, FAMILY comparisons; a panel a number of seeds."""
    panels = [n for n in SEEDS if n in (3, 5, 8, 12)]
    with style():
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        for axes, n in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            for method in METHODS:
                own = [
                    c
                    for c in cells
                    if (c.noise, c.seeds, c.comparisons, c.test) == ("normal", n, FAMILY, method) and c.effect > 0
                ]
                axes.plot([c.effect for c in own], [100 * c.power for c in own], color=COLOURS[method],
                          marker=MARKERS[method], markersize=4, label=method if n == panels[0] else None)  # fmt: skip
            axes.axhline(80, color=INK, linewidth=0.8, linestyle="--")
            axes.set_title(f"{n} seeds", loc="left")
            axes.set_xticks([effect for effect in EFFECTS if effect])
        figure.supxlabel("planted difference in sd of a run", fontsize=9)
        figure.supylabel("found, % of studies", fontsize=9)
        figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8)
        return svg(figure)


def verdicts_figure(cells: Sequence[Cell]) -> bytes:
    """How often the default test gives each verdict, over the planted effect; a panel a number of seeds."""
    names = {"helps": BLUE, "equivalent": GREEN, "inconclusive": "#cfcfcf", "hurts": ORANGE}
    panels = [n for n in SEEDS if n in (3, 5, 8, 20)]
    with style():
        figure = Figure(figsize=(7.6, 2.5), layout="constrained")
        for axes, n in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
            own = [c for c in cells if (c.noise, c.seeds, c.comparisons, c.test) == ("normal", n, FAMILY, DEFAULT)]
            under = np.zeros(len(own))
            for name, colour in names.items():
                share = np.array([100 * getattr(c, name) for c in own])
                axes.bar([c.effect for c in own], share, bottom=under, color=colour, width=0.8,
                         label=name if n == panels[0] else None)  # fmt: skip
                under += share
            axes.set_title(f"{n} seeds", loc="left")
            axes.set_xticks(list(EFFECTS))
            axes.grid(axis="x", visible=False)
        figure.supxlabel(f"planted difference in sd of a run (margin: {MARGIN:g})", fontsize=9)
        figure.supylabel("% of studies", fontsize=9)
        figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
        return svg(figure)


# ---- text


def text(cells: Sequence[Cell], folder: str, studies: int, real: int, more: Sequence[str] = ()) -> str:
    """The report in Markdown. `real`: studies that residuals were taken from; `more`: lines of further sections."""
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
        f"{MARGIN:g} sd of a run. "
        + (
            f"The noise `runs` is made from the residuals of {real} committed {'study' if real == 1 else 'studies'}."
            if real
            else "No committed study was there to take residuals from."
        ),
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
        "## Beyond what any test promises",
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
