"""The report on the tests themselves: how often they err, and what they find, by simulation."""

import csv
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from benchmarks.calibration import power
from benchmarks.calibration import simulate as simulation
from benchmarks.calibration.plots import FAMILY, errors_figure, power_figure, verdicts_figure
from benchmarks.calibration.real_runs import rendered, rounded
from benchmarks.calibration.real_runs import section as real_runs
from benchmarks.calibration.simulate import LookCell, SimulatedCell
from harness.errors import UserError
from harness.files import write_bytes, write_csv, write_text
from harness.progress import say
from harness.statistics.judging import DEFAULT, PROMISED
from harness.statistics.models import Floats, residuals_of
from harness.statistics.sequential import nominal

FILE, LOOKS_FILE = "calibration.csv", "looks.csv"

Row = TypeVar("Row", SimulatedCell, LookCell)


def calibrate(
    out: Path,
    studies: int,
    root: Path,
    noises: Sequence[str] = tuple(simulation.NOISES),
    seeds: Sequence[int] = simulation.SEEDS,
    comparisons: Sequence[int] = simulation.COMPARISONS,
    methods: Sequence[str] = tuple(simulation.METHODS),
    plans: Sequence[tuple[int, ...]] = simulation.LOOKS,
) -> Path:
    """Simulate the grid and write `out`.md, and figures and CSV into `out`. Returns the report's path.

    Of other noise than `noises` the rows of the CSV files that are there stay. Each row's draws are its own, so that
    they are what a simulation of all would give. Raises `UserError` for an unknown noise and for a broken file.
    """
    if unknown := sorted(set(noises) - set(simulation.NOISES)):
        raise UserError(f"--noise {unknown[0]}: no such noise; allowed: {', '.join(simulation.NOISES)}")
    residuals = read_residuals(root)
    tables = list(residuals.values())
    others = set(simulation.NOISES) - set(noises)
    cells = [c for c in read_rows(out / FILE, SimulatedCell) if c.noise in others] if others else []
    looks = [c for c in read_rows(out / LOOKS_FILE, LookCell) if c.noise in others] if others else []
    simulated = partial(_of_noise, studies, tables, seeds, comparisons, methods, plans)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for noise, (made, made_looks) in zip(noises, pool.map(simulated, noises), strict=True):
            say(f"calibrate: {noise}: {len(made)} cells of {studies:,} studies" if made else f"calibrate: no {noise}")
            cells += [_rounded(cell) for cell in made]
            looks += [_rounded(cell) for cell in made_looks]
    detected = out / "detectable.csv"
    if "normal" in noises:
        checked = power.check(studies, seeds, comparisons, [method for method in methods if method != "plain_block"])
        write_text(detected, checked.round(4).to_csv(index=False))
    order = list(simulation.NOISES)
    cells.sort(key=lambda c: order.index(c.noise))
    looks.sort(key=lambda c: order.index(c.noise))
    write_csv(out / FILE, [asdict(cell) for cell in cells], [field.name for field in fields(SimulatedCell)])
    write_csv(out / LOOKS_FILE, [asdict(cell) for cell in looks], [field.name for field in fields(LookCell)])
    for name, figure in (("errors", errors_figure), ("power", power_figure), ("verdicts", verdicts_figure)):
        write_bytes(out / f"{name}.svg", figure(cells))
    report = out.with_suffix(".md")
    values = _of_studies(cells, residuals) | {"looks": _of_looks(looks), "real_runs": "\n".join(real_runs(root, out))}
    values |= {"simulation": simulation, "default": DEFAULT, "family": FAMILY, "folder": out.name, "inf": math.inf}
    values["detected"] = _of_detectable(pd.read_csv(detected)) if detected.exists() else None
    write_text(report, rendered("calibration.md.j2", **values))
    return report


def _of_noise(
    studies: int,
    residuals: Sequence[Floats],
    seeds: Sequence[int],
    comparisons: Sequence[int],
    methods: Sequence[str],
    plans: Sequence[tuple[int, ...]],
    noise: str,
) -> tuple[list[SimulatedCell], list[LookCell]]:
    """Cells of one kind of noise, and those of studies with looks."""
    cells = simulation.simulate(studies, residuals, (noise,), seeds, comparisons, methods)
    looks = simulation.simulate_looks(studies, residuals, (noise,), plans, comparisons)
    return list(cells), list(looks)


def _of_studies(cells: Sequence[SimulatedCell], residuals: Mapping[str, Floats]) -> dict[str, Any]:
    """What the page shows of studies that are looked at once, and of the real ones that noise is made from."""
    methods = simulation.METHODS
    null = [c for c in cells if c.effect == 0]
    promised = [c for c in null if c.noise not in simulation.BEYOND]
    missed = {method: simulation.misses(cells, method) for method in methods}
    apart = [(noise, m) for noise in simulation.BEYOND for m in methods]
    few = [(n, m) for n in simulation.SEEDS if n < PROMISED for m in methods]
    return {
        "studies": max((c.studies for c in cells), default=0),
        "residuals": [(name, *table.shape, simulation.scales(table)[0]) for name, table in residuals.items()],
        "best": simulation.choose(cells),
        "power": {method: simulation.mean_power(cells, method) for method in methods},
        "missed": missed,
        "missed_by_noise": {method: _by_noise(own) for method, own in missed.items()},
        "promised": [(m, [c for c in promised if c.test == m and c.seeds >= PROMISED]) for m in methods],
        "few": [(*kind, [c for c in promised if (c.seeds, c.test) == kind]) for kind in few],
        "unpromised": [
            (*kind, [c for c in null if (c.noise, c.test) == kind and c.seeds >= PROMISED]) for kind in apart
        ],
        "by_noise": _by_noise(cells),
    }


def _of_detectable(table: pd.DataFrame) -> dict[str, Any]:
    """What the page shows of how often the effects are found that reports call detectable."""
    enough = table[table.seeds >= PROMISED]
    rows = [row for row in enough[enough.test == DEFAULT].itertuples() if row.seeds in (5, 8, 20)]
    return {"low": enough.power.min(), "high": enough.power.max(), "rows": rows}


def _of_looks(cells: Sequence[LookCell]) -> dict[str, Any]:
    """What the page shows of studies that are looked at more than once; nothing without cells."""
    if not cells:
        return {}
    null, at_margin = (_by_noise([c for c in cells if c.effect == effect]) for effect in (0, simulation.MARGIN))
    missed = simulation.misses_of_looks(cells)
    shown = [c for c in cells if (c.noise, c.comparisons, c.effect) == ("normal", FAMILY, simulation.MARGIN)]
    return {
        "studies": min(c.studies for c in cells),
        "missed": missed,
        "missed_kinds": sorted({(c.noise, c.looks, str(c.comparisons)) for c in missed}),
        "promised": [c for c in cells if c.noise not in simulation.BEYOND and c.effect == 0],
        "noises": [(noise, own, at_margin[noise]) for noise, own in null.items()],
        "plans": [(c, nominal(tuple(map(int, c.looks.split("-"))), simulation.ALPHA, FAMILY)) for c in shown],
    }


def _by_noise(cells: Sequence[Row]) -> dict[str, list[Row]]:
    found = {noise: [c for c in cells if c.noise == noise] for noise in simulation.NOISES}
    return {noise: own for noise, own in found.items() if own}


def _rounded(row: Row) -> Row:
    """A row as the CSV holds it, so that a page made from the file is the page of the simulation."""
    return type(row)(**rounded(asdict(row)))


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Rows of a CSV of this report; none where it is not there. Raises `UserError` for a broken one."""
    if not path.exists():
        return []
    types: Mapping[str, Any] = {field.name: field.type for field in fields(kind)}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [kind(**{k: types[k](v) for k, v in row.items()}) for row in csv.DictReader(file)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of this report: {error!r}; run `python -m benchmarks.calibration` for all noise"
        ) from error


def read_residuals(root: Path) -> dict[str, Floats]:
    """Residuals (seeds, arms) of the committed studies below `root`: those with three arms and three seeds at least."""
    tables = {}
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
            table = np.array([[values[seed] for values in arms.values()] for seed in seeds])
            tables[path.parent.name] = residuals_of(table)
    return tables
