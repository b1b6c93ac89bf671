"""Real runs of one net against itself: the section of the calibration that is no simulation.

It reads the results of the study `noise`, whose variants are one net each with another source of randomness let go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.calibration import cuts as noise
from benchmarks.calibration import plots as figures
from benchmarks.calibration.cuts import FAMILY, GRID, PAIR, Against, Floor, Shares, Split
from harness.files import write_bytes, write_csv
from harness.randomness import HELD
from harness.report.evidence import wrong_answers
from harness.report.format import PAGES, paragraph
from harness.report.isolation import FILE, identity, read_verified
from harness.report.runs import Results, read_results
from harness.settings.load import load_study
from harness.settings.study import Study
from harness.statistics.comparison import Comparison, Rules, compare_all
from harness.statistics.judging import Test

STUDY = Path("experiments/noise/study.yaml")

CUTS = 200
"""Ways in which a source's runs are cut into arms; of each, as many of each simulated set of runs."""

STUDIES = 400
"""Simulated sets of runs."""

LEAST_RUNS = 8
"""Runs of a source that are cut: with fewer, an arm of a quarter has less than two."""

SEED = 20120930

FLOOR_COLUMNS = [
    "source", "runs", "declared", "images", "error", "sd", "low", "high", "confidence", "binomial", "flips", "common",
    "disagree",
]  # fmt: skip

ALL = "all rows"
"""Stands for the mean over the sources in tables and figures: no variant's name has a space."""


@dataclass(frozen=True)
class RandomSource:
    """A variant of the study: its finished runs of `declared` ones. `errors`: in percent, one a run.

    `floor`: of two runs at least, tested on as many images.
    """

    name: str
    declared: int
    errors: NDArray[np.float64]
    floor: Floor | None

    @property
    def runs(self) -> int:
        return len(self.errors)


@dataclass(frozen=True)
class Twins:
    """Runs of one seed that were trained apart.

    `variants`: those whose runs with the held seed were; `equal`: these runs, to the last bit. `again`: runs of the
    baseline that were re-run whole, `sound` of them with every number as it was; `comparison`: what the report's
    function makes of the sound ones against themselves, None without any.
    """

    variants: tuple[str, ...]
    equal: bool
    again: int
    sound: int
    comparison: Comparison | None


def section(root: Path, out: Path) -> list[str]:
    """The section's lines of Markdown; its figures and tables are written into `out`.

    Raises `UserError` for results that are broken.
    """
    path = root / STUDY
    if not path.exists():
        return _text(absent="No study of one net against itself is declared here.")
    study = load_study(path)
    confidence = study.file.confidence
    results = read_results(study, None, root)
    sources = read_sources(study, results)
    whole = next(source.floor for source in sources if source.name == study.baseline)
    if whole is None:
        return _text(absent="The study of one net against itself has not been run.")
    rows = compared(sources, confidence)
    last = list(rows)[-1] if rows else ""
    write_csv(out / "noise.csv", floor_rows(sources, confidence), FLOOR_COLUMNS)
    write_bytes(out / "noise.svg", figures.floors({s.name: (s.errors, s.floor) for s in sources if s.floor}))
    if rows:
        table = aa_rows(rows)
        write_csv(out / "aa.csv", table, list(table[0]))
        write_bytes(out / "aa.svg", figures.distributions(rows, study.baseline, ALL))
    single = [source.floor for source in sources if source.floor and source.name != study.baseline]
    scatter = len(single) > 1 and whole.sd > 0 and any(one.sd for one in single)
    errors = [source.errors for source in sources if source.floor]
    return _text(
        absent="", study=study, sources=sources, whole=whole, held=HELD, folder=out.name,
        confidence=100 * confidence, alpha=1 - confidence, parts=len(single),
        total=noise.added(single, whole, confidence) if scatter else None,
        equal_sds=float(stats.levene(*errors, center="median").pvalue) if scatter else None,
        twin=twins(study, results, root),
        shown={name: rows[name] for name in (study.baseline, last) if name in rows},
        outside=[f"`{one.test}` on {one.design.name}" for one in rows.get(last, ()) if not one.inside],
    )  # fmt: skip


def _text(**values: object) -> list[str]:
    return rendered("noise.md.j2", **values).split("\n")


def read_sources(study: Study, results: Results) -> list[RandomSource]:
    found = []
    for name in study.variants:
        runs = results.finished(name).values()
        answers = [wrong_answers(run) for run in runs]
        wrong = np.stack(answers) if len({len(one) for one in answers}) == 1 else None
        floor = noise.floor(wrong, study.file.confidence) if wrong is not None and len(wrong) > 1 else None
        errors = np.array([run.metrics["test_top1"] for run in runs])
        found.append(RandomSource(name, len(results.of(name)), errors, floor))
    return found


def compared(
    sources: Sequence[RandomSource], confidence: float, count: int = CUTS, studies: int = STUDIES
) -> dict[str, list[Against]]:
    """By source: its runs against themselves in every design, by every test; and the mean of all, as ALL.

    ALL is over the sources with as many runs as most have, where there are several.
    """
    own = [source for source in sources if source.runs >= LEAST_RUNS]
    sizes = [source.runs for source in own]
    rows: dict[str, list[Against]] = {source.name: [] for source in own}
    for design in (PAIR, FAMILY):
        for test in design.tests:
            held = {runs: _reference(runs, design, test, 1 - confidence, count, studies) for runs in sorted(set(sizes))}
            seen: dict[str, Shares] = {}
            for place, source in enumerate(own):
                rng = np.random.default_rng([SEED, design.arms, place])
                tables = source.errors[noise.cuts(rng, source.runs, design.arms, count)]
                seen[source.name] = noise.by_the_report(tables, test, 1 - confidence)
                rows[source.name].append(
                    noise.against([seen[source.name]], held[source.runs], design, test, source.runs, count, confidence)
                )
            most = max(sizes, key=sizes.count, default=0)
            like = [seen[source.name] for source in own if source.runs == most]
            if len(like) > 1:
                together = noise.against(like, held[most], design, test, most, count, confidence)
                rows.setdefault(ALL, []).append(together)
    return rows


def _reference(runs: int, design: Split, test: Test, alpha: float, count: int, studies: int) -> Shares:
    rng = np.random.default_rng([SEED, runs, design.arms, *test.encode()])
    return noise.simulated(rng, runs, design, test, alpha, count, studies)


def twins(study: Study, results: Results, root: Path) -> Twins:
    """What runs of one seed came to that were trained apart: with the held seed, and re-run by `harness verify`."""
    runs = {name: results.finished(name)[HELD] for name in study.variants if HELD in results.finished(name)}
    # A copied run has the fingerprint of the one that it is copied from.
    apart = len({run.fingerprint for run in runs.values()}) == len(runs) > 1
    ends = {(run.hashes.weights, run.hashes.losses, wrong_answers(run).tobytes()) for run in runs.values()}
    own = results.finished(study.baseline)
    verified = read_verified(root / study.folder / FILE)
    again = {
        seed: verified[key]
        for seed, run in own.items()
        if (key := f"{study.baseline}-{seed}") in verified
        and verified[key].whole
        and verified[key].record == identity(run.fingerprint, run.hashes)
    }
    # Verified: every number of the second run is that of the first.
    values = {seed: own[seed].metrics["test_top1"] for seed, one in again.items() if one.verified}
    judged = compare_all({"first": values, "again": values}, "first", Rules(1 - study.file.confidence))
    return Twins(
        tuple(runs) if apart else (), len(ends) == 1, len(again), len(values), judged["again"] if values else None
    )


# ---- tables


def floor_rows(sources: Sequence[RandomSource], confidence: float) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = []
    for source in sources:
        row: dict[str, Any] = {"source": source.name, "runs": source.runs, "declared": source.declared}
        if f := source.floor:
            row |= {key: value for key, value in asdict(f).items() if key != "mean"}
            row |= {"error": f.mean, "confidence": confidence}
        table.append(rounded(row))
    return table


def aa_rows(rows: Mapping[str, Sequence[Against]]) -> list[dict[str, Any]]:
    """Rows of aa.csv: one a source, design, test and p of GRID; what does not depend on p stands with the first."""
    table: list[dict[str, Any]] = []
    for source, own in rows.items():
        for one in own:
            for place, p in enumerate(GRID.tolist()):
                row: dict[str, Any] = {
                    "source": source, "design": one.design.name, "test": one.test, "seeds": one.seeds,
                    "comparisons": one.design.arms - 1, "cuts": one.cuts, "p": p, "share": one.observed[place],
                    "low": one.low[place], "high": one.high[place],
                }  # fmt: skip
                if place == 0:
                    row |= {
                        "worth": one.worth, "distance_p": one.distance_p, "family_error": one.family,
                        "family_low": one.family_low, "family_high": one.family_high,
                    }  # fmt: skip
                table.append(rounded(row))
    return table


def rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as CSV holds it: numbers with six digits."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}


def rendered(template: str, **values: Any) -> str:
    """The text of a template beside this file; a value that is missing raises `jinja2.UndefinedError`."""
    text = Path(__file__).with_name(template).read_text(encoding="utf-8")
    return PAGES.from_string(text).render(values, paragraph=paragraph)
