"""Seeds and budgets are planned from the noise that the finished runs show."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fake_study import STUDY, alter, make_results, make_study
from typer.testing import CliRunner

from harness.cli import app
from harness.planning import detectable_lines, recorded_lines, seeds_lines
from harness.progress import clock
from harness.record import RunFolder, read_run
from harness.report.runs import read_results
from harness.report.variants import variant_rows
from harness.settings.study import Study
from harness.statistics.power import detectable_at


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    root = tmp_path_factory.mktemp("planned")
    study = make_study(root, STUDY.replace("data:", "test: paired_t\ndata:"))
    make_results(study, root)
    return study, root


def lines_of(planned: tuple[Study, Path], effect: float, power: float = 0.8) -> list[str]:
    study, root = planned
    return seeds_lines(study, variant_rows(study, read_results(study, None, root)), effect, power)


def seeds_of(line: str) -> tuple[int, int]:
    match = re.search(r": ([\d,]+) seeds, at most ([\d,]+) seeds", line)
    assert match, line
    return int(match[1].replace(",", "")), int(match[2].replace(",", ""))


def test_a_plan_is_made_for_the_test_and_the_family_that_the_study_declares(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    make_results(study, tmp_path)
    rng = np.random.default_rng(9)
    for cell in study.cells:  # one arm that scatters more leaves the pool
        error = 20 + cell.seed / 3 + rng.normal(0, 3 if cell.variant == "no-dropout" else 0.4)
        path = tmp_path / cell.results / "eval/metrics.json"
        alter(path, lambda values, error=error: values.update(test_top1=float(error)))
    rows = {row.variant: row for row in variant_rows(study, read_results(study, None, tmp_path))}
    lines = {line.split(":")[0].strip(): line for line in seeds_lines(study, list(rows.values()), 0.5, 0.8)}
    assert {row.comparison.pooled for row in rows.values() if row.comparison} == {True, False}
    for variant, row in rows.items():
        c = row.comparison
        if c is None or c.se is None or c.design is None:
            continue
        assert f"(sd {c.design.sd:.2f}, at most" in lines[variant], "that of the verdict"
        few, _ = seeds_of(lines[variant])
        assert detectable_at(c.design, few, 0.05) <= 0.5 < detectable_at(c.design, few - 1, 0.05), variant


def test_seeds_that_nobody_can_afford_are_not_summed_up(planned: tuple[Study, Path]) -> None:
    assert not re.search(r"\d", lines_of(planned, 0.0001)[-1])


def test_what_the_finished_runs_took_is_added_up(planned: tuple[Study, Path]) -> None:
    study, root = planned
    (line,) = recorded_lines(variant_rows(study, read_results(study, None, root)))
    taken = sum(read_run(RunFolder.of(root / cell.results)).provenance.wall_seconds for cell in study.cells)
    assert f"{len(study.cells)} of {len(study.cells)} runs" in line
    assert clock(taken) in line
    assert recorded_lines(variant_rows(study, read_results(study, None, root / "elsewhere"))) == []


def test_runs_of_an_instant_take_some_time(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    make_results(study, tmp_path)
    for cell in study.cells:
        alter(RunFolder.of(tmp_path / cell.results).provenance, lambda values: values.update(wall_seconds=0.001))
    (line,) = recorded_lines(variant_rows(study, read_results(study, None, tmp_path)))
    assert "take less than a second" in line


def test_doctor_says_how_many_cells_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = make_study(tmp_path)
    make_results(study, tmp_path)
    shutil.rmtree(tmp_path / study.cells[0].results)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps(study.variants["base"].model_dump() | {"seed": 0}))
    # The candidate is one more, and has not been run.
    done = f"done: {len(study.cells) - 1} of {len(study.cells) + 1} runs"
    assert CliRunner().invoke(app, ["doctor"]).stdout.splitlines()[-1] == done


def test_a_budget_says_what_it_finds(planned: tuple[Study, Path]) -> None:
    study, root = planned
    rows = variant_rows(study, read_results(study, None, root))
    sizes = []
    for hours in (1.0, 4.0):
        (line,) = detectable_lines(study, rows, hours)
        size = re.search(r"(\d+) seeds of 8 variants.* ([\d.]+) points", line)
        assert size, line
        sizes.append((int(size[1]), float(size[2])))
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] > sizes[1][1]
    assert not re.search(r"[\d.]+ points", detectable_lines(study, rows, 0.001)[0])


def test_without_a_pilot_nothing_is_promised(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    rows = variant_rows(study, read_results(study, None, tmp_path))
    for line in (seeds_lines(study, rows, 0.5, 0.8)[0], detectable_lines(study, rows, 1.0)[0]):
        assert not re.search(r"\d seeds|points", line)
