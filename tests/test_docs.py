"""What README and documentation name is there: commands with their options, files, studies, numbers."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from dvc.cli.parser import get_main_parser
from reading import rows_of

from harness.cli import app
from harness.errors import UserError
from harness.files import read_yaml
from harness.settings.listing import list_settings
from harness.settings.load import declared_names, find_study, load_study
from harness.settings.schema import Settings

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".github/pull_request_template.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
README = TEXTS["README.md"]
LATER = {"reports/README.md"}  # linked before it is made

OWN = {"rates", "flowers", "STUDY", "EXP", "WORD"}  # stand for a study, experiment or word of the reader's


def commands(text: str) -> set[str]:
    """Command lines of harness, nox and dvc in a page's blocks and in its running text."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    lines = re.split(r"\s#.*|\s&&\s|\n", "\n".join(blocks))
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    named = (line.strip().removeprefix(".venv/bin/") for line in [*lines, *inline])
    return {line for line in named if re.match(r"(harness|nox|dvc) ", line)}


COMMANDS = sorted({(page, line) for page, text in TEXTS.items() for line in commands(text)})


COMPONENTS: Any = runpy.run_path(str(ROOT / "docs/components.py"))["components"]()


def sessions() -> set[str]:
    return set(re.findall(r"^@nox\.session\ndef (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE))


def options(command: Any) -> dict[str, bool]:
    """Every option of a command, and whether it takes a value."""
    own = [one for one in command.params if one.param_type_name == "option"]
    named = {name: not one.is_flag for one in own for name in (*one.opts, *one.secondary_opts)}
    return named | {"--help": False, "-h": False}


def check_harness(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
    known, given, rest = options(command), [], list(words)
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            assert word in known, f"{command.name} has no {word}"
            if known[word]:
                assert rest, f"{word} takes a value"
                rest.pop(0)
        else:
            given.append(word)
    places = {one.name for one in command.params} & {"study", "ids"} and command.name not in ("diff", "compare")
    word = given[0] if given and places else "STUDY"
    searched = command.name == "variants" and list_settings(word)
    if word not in OWN and not searched and not re.fullmatch(r"C\d\d", word):
        study = load_study(find_study(Path(word), ROOT))
        assert set(given[1:]) <= set(study.variants)


def check_dvc(words: list[str]) -> None:
    for setting in getattr(get_main_parser().parse_args(words), "set_param", None) or []:
        assert setting.lstrip("+").partition("=")[0] in Settings.model_fields, setting


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[f"{page}: {line}" for page, line in COMMANDS])
def test_a_command_that_is_named_exists_with_its_options(page: str, line: str) -> None:
    program, *words = shlex.split(line)
    if program == "nox":
        named = words[1:] if words[0] == "-s" else words
        assert set(named[: named.index("--")] if "--" in named else named) <= sessions()
    elif program == "dvc":
        check_dvc(words)
    else:
        check_harness(words)


def test_a_mistake_in_a_command_is_noticed() -> None:
    for line in ("rnu", "run --forse", "run nothing", "verify components no-lnr", "numerics proof"):
        with pytest.raises((AssertionError, UserError)):
            check_harness(line.split())
    with pytest.raises(AssertionError):
        check_dvc(["exp", "run", "-S", "lnr=false"])


def slugs(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.replace("`", "")).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", TEXTS)
def test_a_link_leads_to_a_file_and_its_heading(page: str) -> None:
    folder = (ROOT / page).parent
    for target, anchor in re.findall(r"\]\(<?((?!https?:)[^)#>]*)(?:#([^)>]*))?>?\)", TEXTS[page]):
        path = (folder / target).resolve() if target else ROOT / page
        assert path.exists() or path.relative_to(ROOT).as_posix() in LATER, target
        if anchor:
            assert anchor in slugs(path.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_readme_is_short_and_its_two_commands_do_everything() -> None:
    assert len(README.split()) <= 900
    for session in ("study", "tests"):
        assert f"\npython3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s {session} " in README


def test_no_page_names_a_place_of_one_machine() -> None:
    assert not [page for page, text in TEXTS.items() if re.search(r"/(work|home|tmp|root)/", text)]


def test_the_studies_are_those_that_are_declared() -> None:
    rows = re.findall(
        r"^\| (.+?) \|.+\| (\d*) ?\|$", README.partition("| study |")[2].partition("\n\n")[0], re.MULTILINE
    )
    named = {name: runs for cell, runs in rows for name in re.findall(r"`([a-z0-9-]+)`", cell)}
    assert sorted(named) == sorted(declared_names(ROOT).values())
    for name, runs in named.items():
        assert not runs or int(runs) == len(load_study(find_study(Path(name), ROOT)).cells)


def test_the_effects_are_those_of_the_report() -> None:
    rows = rows_of(ROOT / "reports/components/variants.csv")
    rows = [row for row in rows if row["difference"] and row["variant"] != "candidate"]
    effects = re.findall(r"\| (\S+) \((\S+) to (\S+)\) \| ([\w ]+) \| ([\w.]+)", README.replace("−", "-"))
    assert len(effects) == len(rows)
    verdicts = {"helps": "helps", "hurts": "hurts here", "inconclusive": "undecided"}
    for row in rows:
        numbers = [float(row[key]) for key in ("difference", "low", "high")]
        (same,) = (one for one in effects if all(abs(float(a) - b) < 0.006 for a, b in zip(one, numbers, strict=False)))
        assert same[3] == (verdicts[row["verdict"]] if ";" not in row["changes"] else "no verdict on ReLU alone")
        assert same[4] == (row["paper_difference"] or "no")


@pytest.mark.parametrize("table", ["reliability", "reliability-cuda"])
def test_the_trials_that_are_counted_are_those_of_the_reports(table: str) -> None:
    rows = rows_of(ROOT / f"reports/{table}.csv")
    assert all(row["lost"] == "0" for row in rows)
    for page in ("README.md", "docs/reproducibility.md"):
        assert f"{sum(int(row['tried']) for row in rows):,} trials" in TEXTS[page].replace("\n", " ")


def test_the_studies_that_are_written_out_are_sound(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(extends:.*?)```", TEXTS["docs/studies.md"], re.DOTALL)
    shutil.copy(ROOT / "experiments/study.yaml", tmp_path)
    (tmp_path / "rates").mkdir()
    (tmp_path / "rates/study.yaml").write_text(text)
    study, default = load_study(tmp_path / "rates/study.yaml"), load_study(tmp_path / "study.yaml")
    assert list(study.variants) == ["base", "no-lrn", "slow", "no-lrn_slow"]
    assert study.variants["base"] == default.variants["base"].model_copy(update={"bits": "portable"})
    assert study.published == {"no-lrn": default.published["no-lrn"]}
    (text,) = re.findall(r"```yaml\n(name:.*?)```", TEXTS["docs/images.md"], re.DOTALL)
    (tmp_path / "flowers.yaml").write_text(text)
    assert list(load_study(tmp_path / "flowers.yaml").variants) == ["base", "no-lrn"]


def test_every_setting_stands_on_one_page_of_a_component() -> None:
    named = [name for _, settings, _ in COMPONENTS.values() for name in settings]
    assert sorted(named) == sorted(Settings.model_fields)


def test_continuous_integration_is_valid_and_calls_sessions_that_exist() -> None:
    jobs = read_yaml(ROOT / ".github/workflows/ci.yml")["jobs"]
    lines = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = [name for line in lines for found in re.findall(r"nox -s ([\w ]+)", line) for name in found.split()]
    assert {"lint", "quick", "tests", "study", "docs"} <= set(called) <= sessions()
    assert any("reports/components.md" in line and "GITHUB_STEP_SUMMARY" in line for line in lines)
    for path in (*(ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"), ROOT / ".pre-commit-config.yaml"):
        assert isinstance(read_yaml(path), dict)


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = ["mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site/components/lrn/index.html").is_file()
