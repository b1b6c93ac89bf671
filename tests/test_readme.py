"""What the README names is there."""

import csv
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.settings.load import load_study

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = sorted(set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)))
COMMANDS = sorted(set(re.findall(r"^harness ([a-z]+)", README, re.MULTILINE)))


@pytest.mark.parametrize("link", LINKS)
def test_a_file_that_is_linked_exists(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_named_exists(command: str) -> None:
    assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_every_study_that_is_named_is_declared() -> None:
    named = re.findall(r"`([a-z0-9-]+)`", README.partition("| study |")[2].partition("\n\n")[0])
    declared = {path.parent.name for path in (ROOT / "experiments").glob("*/study.yaml")}
    assert named
    assert set(named) - {"components"} <= declared


def test_the_study_that_it_writes_out_is_one_beside_the_default_study(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(extends:.*?)```", README, re.DOTALL)
    shutil.copy(ROOT / "experiments/study.yaml", tmp_path)
    (tmp_path / "rates").mkdir()
    (tmp_path / "rates/study.yaml").write_text(text)
    study, default = load_study(tmp_path / "rates/study.yaml"), load_study(tmp_path / "study.yaml")
    assert list(study.variants) == ["base", "no-lrn", "slow", "no-lrn_slow"]
    assert study.variants["base"] == default.variants["base"]
    assert study.published == {"no-lrn": default.published["no-lrn"]}


@pytest.mark.parametrize("table", ["reliability", "reliability-cuda"])
def test_the_trials_that_it_counts_are_those_of_the_reports(table: str) -> None:
    with (ROOT / f"reports/{table}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(row["lost"] == "0" for row in rows)
    assert f"{sum(int(row['tried']) for row in rows):,} trials" in README
