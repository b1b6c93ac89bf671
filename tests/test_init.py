"""A repository of one's own, by the package as `pip` installs it from the wheel: the source checkout is not needed."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from clones import environment, ran
from conftest import TINY, write_yaml
from pictures import tree
from test_docs import check_dvc, check_harness, commands

from harness import __version__
from harness.errors import UserError
from harness.files import read_yaml
from harness.identity import known
from harness.identity.code import digest
from harness.init.create import AS_HERE, STAGES, create, stages
from harness.settings.check import check_candidate, check_study
from harness.settings.load import load_study
from harness.settings.study import DEFAULT

ROOT = Path(__file__).parent.parent
HARNESS = ("python", "-m", "harness")


def call(folder: Path, site: Path, *words: str, status: int = 0, **variables: str) -> str:
    """Output of a command that finds the package in `site` alone; the study may be run by code in development."""
    path = {"PATH": f"{site / 'bin'}{os.pathsep}{environment(folder)['PATH']}", "PYTHONPATH": str(site)}
    values = environment(site.parent) | path | {"HARNESS_ALLOW_DIRTY": "1"} | variables
    done = subprocess.run(
        words, cwd=folder, env=values, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
    )
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package; torch and the rest are those of this environment."""
    folder = tmp_path_factory.mktemp("installed") / "site"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-index")
    subprocess.run([*pip, "--target", str(folder), str(wheel)], check=True)
    return folder


@pytest.fixture(scope="module")
def own(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on a folder of images, made by `harness init`, made tiny, committed and run by DVC to its report."""
    place = tmp_path_factory.mktemp("elsewhere")
    tree(place / "pictures", ["ant", "bee", "cat"], 20, parts=(".",))
    said = call(place, site, "harness", "init", "Flower power", "--images", "pictures")
    assert "the study flower-power, with the images in" in said
    folder = place / "Flower power"
    assert call(folder, site, "harness", "check") == "", "no warning"
    assert call(folder, site, "git", "status", "--short") != "", "the declaration is new"
    study = read_yaml(folder / DEFAULT)
    small = TINY | {"epochs": 1, "batch": 16, "bits": "portable"}
    changes = {"seeds": [0], "claims": "experiments/claims.yaml", "components": {"no-lrn": "LRN"}}
    study |= changes | {"variants": {"base": small, "no-lrn": small | {"lrn": False}}}
    write_yaml(folder / DEFAULT, study)
    write_yaml(folder / "params.yaml", small | {"seed": 0, "lrn": True})
    call(folder, site, "git", "add", "-A")
    call(folder, site, "git", "commit", "-qm", "smaller")
    made = ran(call(folder, site, "dvc", "repro", "report"))
    assert made >= {"check", "data", "train@no-lrn-0", "eval@base-0", "eval-candidate", "report"}
    return folder


@pytest.fixture
def copy(own: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(own, folder, symlinks=True)
    return folder


def record(folder: Path, run: str = "no-lrn-0") -> Any:
    return json.loads((folder / f"reports/flower-power/runs/{run}/train/provenance.json").read_text())


def test_the_wheel_has_every_file_of_the_package_and_what_init_copies(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files", "harness"], cwd=ROOT, capture_output=True, text=True, check=True)
    shipped = {f"harness/_shipped/{name}" for name in (*AS_HERE, *STAGES, "experiments/claims.yaml")}
    assert {*listed.stdout.split(), *shipped} - held == set()


@pytest.mark.slow
def test_dvc_runs_a_study_by_the_installed_package_which_its_records_name(own: Path, site: Path) -> None:
    where = call(own, site, "python", "-c", "import harness; print(harness.__file__)")
    assert where.strip() == str(site / "harness/__init__.py")
    made = record(own)
    assert made["package"] == {"version": __version__, "digest": digest("train")}
    assert (made["dirty"] is None) == (known.unknown() == [])
    assert made["commit"] == call(own, site, "git", "rev-parse", "HEAD").strip()
    assert made["hashes"]["code"] == known.identity("train")
    page, details = (own / f"reports/flower-power{name}" for name in (".md", "/details.md"))
    for file in (page, details, own / "reports/README.md", own / "reports/flower-power/claims.md"):
        for target in re.findall(r"\]\(<?((?!https?:|#)[^)#>]+)", file.read_text()):
            assert (file.parent / target).exists(), f"{file}: {target}"
    assert f"by alexnet-harness {__version__}" in details.read_text()
    # Nothing is to be done, in whichever folder.
    assert ran(call(own / "experiments", site, "dvc", "repro", "../dvc.yaml:report")) == {"../dvc.yaml:check"}


VERIFY = ("harness", "verify", "flower-power", "no-lrn", "--seed", "0")


@pytest.fixture
def changed(site: Path, tmp_path: Path) -> Path:
    """The installed package with a change in its training code."""
    folder = tmp_path / "changed/site"
    shutil.copytree(site, folder)
    with (folder / "harness/train/recipe.py").open("a") as file:
        file.write("\n\nANOTHER = 1\n")
    return folder


@pytest.mark.slow
def test_verify_runs_the_installed_code_and_refuses_another(copy: Path, site: Path, changed: Path) -> None:
    assert "bitwise identical, all 1 epochs" in call(copy / "reports", site, *VERIFY)
    line = (
        f"run: pip install --force-reinstall --no-deps alexnet-harness=={__version__}, or --here for the present code"
    )
    assert line in call(copy, changed, *VERIFY, status=2)
    refused = call(copy, changed, *HARNESS, "train", "no-lrn-0", "--out", "new", status=2, HARNESS_ALLOW_DIRTY="")
    assert refused.startswith("harness: --require-clean: ")
    assert refused.count("\n") == 1


@pytest.mark.nightly
def test_a_changed_package_makes_runs_stale_and_its_own_runs_say_so(copy: Path, site: Path, changed: Path) -> None:
    assert "bitwise identical" in call(copy, site, *VERIFY, "--quick", "1")
    assert "bitwise identical" in call(copy, changed, *VERIFY, "--here", "--quick", "1")
    call(copy, changed, *HARNESS, "train", "no-lrn-0", "--out", "new")
    assert re.fullmatch("[0-9a-f]{64}", json.loads((copy / "new/provenance.json").read_text())["dirty"])
    call(copy, changed, *HARNESS, "check")
    stale = ran(call(copy, changed, "dvc", "repro", "--dry", "-s", "train"))
    assert stale == {"train@base-0", "train@no-lrn-0"}


@pytest.mark.nightly
def test_every_command_works_as_in_the_harness_s_own_repository(copy: Path, site: Path) -> None:
    below = copy / "experiments"
    assert ran(call(copy, site, "dvc", "repro")) == {"check", "publish"}
    call(copy, site, "git", "add", "-A")
    call(copy, site, "git", "commit", "-qm", "results")
    stages = ran(call(copy, site, "dvc", "exp", "run", "--temp", "-n", "flip", "-S", "lrn=false"))
    assert {"train-candidate", "eval-candidate", "report"} <= stages
    assert not {name for name in stages if name.startswith(("train@", "eval@"))}
    assert "lrn: true -> false" in call(below, site, "harness", "compare", "flip")
    assert "run: every run is up to date" in call(below, site, "harness", "run", "-j", "2")
    assert call(copy, site, "git", "status", "--short") == ""
    for words in (
        ("plan",), ("plan", "flower-power", "--effect", "1"), ("doctor",), ("report", "--strict"), ("claims", "C12"),
        ("claims", "flower-power"), ("export",), ("variants", "flower-power"), ("describe", "base-0"), ("candidate",),
        ("publish",), ("diff", "HEAD", "HEAD"), ("tidy", "flower-power"), ("check",),
    ):  # fmt: skip
        call(below, site, "harness", *words)
    (copy / "reports/flower-power.md").write_text("lost")
    assert "reports/flower-power.md: 1 file brought back from the last commit" in call(
        copy, site, "harness", "discard", "flower-power"
    )
    assert call(copy, site, "git", "status", "--short") == ""
    line = "harness: numerics: needs the harness's own repository"
    assert call(copy, site, "harness", "numerics", "prove", status=2).startswith(line)
    # A study in a folder of its own, by the same stages.
    (below / "more").mkdir()
    more = {
        "extends": "../study.yaml",
        "name": "more",
        "title": "More",
        "purpose": "Tests.",
        "plan": [{"kind": "one_factor"}],
    }
    write_yaml(
        below / "more/study.yaml",
        more
        | {"settings": TINY | {"epochs": 1, "batch": 16, "bits": "portable"}, "factors": {"no-lrn": {"lrn": False}}},
    )
    assert "run: every run is up to date" in call(below, site, "harness", "run", "more")
    assert (
        record(copy)["hashes"]
        == json.loads((copy / "reports/more/runs/no-lrn-0/train/provenance.json").read_text())["hashes"]
    )


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any repository, and a user whom git knows; the working folder."""
    for name, value in environment(tmp_path).items():
        if name.startswith("GIT_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("images", [False, True])
def test_what_it_writes_is_committed_and_passes_the_check(user: Path, images: bool) -> None:
    create(user / "A study", tree(user / "pictures", ["ant", "bee"], 20, (".",)) if images else None, None)
    folder = user / "A study"
    assert git(folder, "status", "--short") == ""
    assert git(folder, "log", "--format=%s") == f"Study a-study, by alexnet-harness {__version__}\n"
    study = load_study(folder / DEFAULT)
    assert (study.name, list(study.components)) == ("a-study", ["no-lrn", "no-overlap", "no-dropout", "no-augment"])
    assert check_study(study) == []
    assert study.data.root == (str(user / "pictures") if images else "")
    assert study.data.train_limit == (None if images else 2000), "a folder may have fewer"
    # What dvc.yaml takes from the study's own text.
    (read,) = [one.partition(":")[2].split(",") for one in read_yaml(folder / "dvc.yaml")["vars"]]
    assert set(read) <= read_yaml(folder / DEFAULT).keys()
    settings, seed = check_candidate(folder / "params.yaml", study)
    assert (settings, seed) == (study.variants["base"], study.seeds[0])
    job = read_yaml(folder / ".github/workflows/study.yml")["jobs"]["report"]
    lines = [step.get("run", "") for step in job["steps"]]
    assert f"pip install -q alexnet-harness=={__version__}" in lines
    assert {"harness check", "harness report --strict"} <= set(lines)
    for line in commands((folder / "README.md").read_text().replace("a-study", "components")):
        program, *words = line.split()
        if program == "harness":
            check_harness(words)
        elif "remote" not in words:
            check_dvc(words)
    for file in AS_HERE:
        assert (folder / file).read_bytes() == (ROOT / file).read_bytes()


@pytest.mark.parametrize("file", STAGES)
def test_the_stages_are_those_of_this_repository_but_for_their_code(tmp_path: Path, file: str) -> None:
    (tmp_path / "dvc.yaml").write_text(stages(file))
    ours, theirs = (read_yaml(path)["stages"] for path in (ROOT / file, tmp_path / "dvc.yaml"))
    check = ours["check"]
    # What the package brings is found out by the stage itself, each time.
    check["deps"] = [name for name in check["deps"] if name not in ("harness", "experiments/claims.yaml")]
    assert len(check["deps"]) in (2, 4)
    assert theirs == ours | {"check": check | {"always_changed": True}}


def test_a_place_that_is_taken_is_refused_in_one_line_and_stays_as_it_is(user: Path) -> None:
    (user / "full").mkdir()
    (user / "full/file").write_text("kept")
    git(user, "init", "-q", "outer")
    (user / "no-images/class").mkdir(parents=True)
    before = sorted(user.rglob("*"))
    for place, images, name, line in (
        ("full", None, None, r"full: is not empty; allowed: a new or an empty folder"),
        ("full/file", None, None, r"full/file: is a file"),
        ("outer/new/one", None, None, r"lies in the git repository .*outer; allowed: a folder outside of one"),
        ("new", None, "A b", r"--name: got 'A b'; allowed: small letters"),
        ("new", None, "candidate", r"--name: got 'candidate'"),
        ("new", "nothing", None, r"data\.root: .*nothing: no such folder"),
        ("new", "no-images", None, r"no-images"),
    ):
        with pytest.raises(UserError, match=line):
            create(user / place, images and user / images, name)
    assert sorted(user.rglob("*")) == before


def test_an_empty_folder_becomes_the_repository_where_it_is(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (user / "here").mkdir()
    monkeypatch.chdir(user / "here")
    with pytest.raises(UserError, match="--name"):
        create(Path("."), None, "A b")
    assert not any(Path(".").iterdir())
    create(Path("."), None, None)
    assert git(Path.cwd(), "status", "--short") == ""
    assert load_study(DEFAULT).name == "here"


def test_without_a_user_of_git_nothing_is_committed_and_without_git_nothing_is_made(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_", "EMAIL"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    said = create(user / "one", None, None)
    assert "nothing is committed, since git knows no user" in said[0]
    assert "experiments/study.yaml" in git(user / "one", "ls-files", "--cached")
    monkeypatch.setenv("PATH", str(user))
    with pytest.raises(UserError, match="git is not installed"):
        create(user / "two", None, None)
    assert not (user / "two").exists()
