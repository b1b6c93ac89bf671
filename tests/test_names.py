"""Names of studies, variants and files: taken as they are written, or refused in one line before anything is lost."""

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, commit, git, study_file
from conftest import write_yaml as write
from fake_study import IMAGES, make_results, make_study
from test_bad_input import STUDY, harness, project, refused

from harness.data.watch import packed_at
from harness.errors import UserError
from harness.files import read_yaml, write_json
from harness.pipeline.dvc_files import CELLS, STAGES, check_pipeline, write_pipeline
from harness.pipeline.holder import RWLOCK, alone
from harness.pipeline.outcome import differing
from harness.pipeline.tidy import HASHED, tidy
from harness.record import RunFolder, read_run
from harness.report.figures import curves
from harness.settings.load import load_study
from harness.weights import entry_of

OTHER = "# A page by hand\n"
ODD = ("1e-3", "007", "true", "0x1f", "null", "1_000", "2024-01-01", "yes", "0o7", "1e5")


def mine(folder: Path, place: str = "mine", **keys: Any) -> Path:
    """A second study beside the default one, in what DVC takes for a repository."""
    path = project(folder) / "experiments" / place / "study.yaml"
    (folder / ".dvc").mkdir()
    git("-C", str(folder), "init", "-q", "-b", "main")
    write(path, STUDY | {"name": "mine"} | keys)
    return path


def files(folder: Path) -> set[Path]:
    """All files but those of git and DVC."""
    return {path for path in folder.rglob("*") if path.is_file() and not {".git", ".dvc"} & {*path.parts}}


@pytest.mark.parametrize(
    ("name", "place", "parts"),
    [
        ("candidate", "mine", ["mine/study.yaml: name: got 'candidate'", "params.yaml"]),
        ("readme", "mine", ["mine/study.yaml: name: got 'readme'", "index"]),
        ("method", "mine", ["mine/study.yaml: name: got 'method', but reports/method.md is another page"]),
        ("tiny", "mine", ["mine/study.yaml: name: got 'tiny', which experiments/study.yaml has"]),
        ("deep", "a/b", ["experiments/a/b/study.yaml: DVC cannot run", "experiments/FOLDER/study.yaml"]),
        ("spaced", "my study", ["experiments/my study/study.yaml: DVC cannot run", "letters, digits"]),
    ],
)
def test_a_name_or_a_place_that_would_harm_others_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, place: str, parts: list[str]
) -> None:
    path = mine(tmp_path, place, name=name)
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/method.md").write_text(OTHER)
    before = files(tmp_path)
    for command in ("check", "run"):
        refused(harness(command, path.relative_to(tmp_path), cwd=tmp_path), *parts)
    assert files(tmp_path) == before


def test_a_study_goes_on_with_its_own_report(tmp_path: Path) -> None:
    mine(tmp_path)
    page = tmp_path / "reports/mine.md"
    page.parent.mkdir()
    page.write_text("[all details](mine/details.md)\n")  # its folder was removed
    assert harness("check", "mine", cwd=tmp_path).returncode == 0
    page.write_text(OTHER)
    refused(harness("report", "mine", cwd=tmp_path), "reports/mine.md is another page")
    assert page.read_text() == OTHER
    (tmp_path / "reports/mine").mkdir()
    (tmp_path / "reports/mine/variants.csv").touch()  # damaged, and made again
    assert harness("check", "mine", cwd=tmp_path).returncode == 0


def test_names_that_look_like_other_things_stay_names_for_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = load_study(study_file(Path("experiments/s"), name="007", variants=dict.fromkeys(["base", *ODD], TINY)))
    write_json(STAGES, {})
    write_pipeline(study)
    cells = Path("experiments/s") / CELLS
    read = read_yaml(cells)
    assert (read["name"], read["first"], read["variants"]) == ("007", "base-0", ["base", *ODD])
    write(cells, read)  # as another program writes the same
    written = cells.read_bytes()
    check_pipeline(study)
    write_pipeline(study)
    assert cells.read_bytes() == written
    cells.write_text("")
    write_pipeline(study)
    text = cells.read_text()
    for broken in ("variants: [", "", f"{text}- more\n", text.replace("'1e-3'", "1e-3")):
        assert broken != text
        cells.write_text(broken)
        with pytest.raises(UserError, match=r"s/cells\.yaml: is not what"):
            check_pipeline(study)
        write_pipeline(study)
        check_pipeline(study)


@pytest.mark.parametrize("place", ["factors", "variants"])
@pytest.mark.parametrize("name", ["007", "true", "null", "1e-3", "2024-01-01"])
def test_a_name_without_its_quotes_is_named_as_what_it_is_read_as(tmp_path: Path, place: str, name: str) -> None:
    path = mine(tmp_path)
    text = path.read_text().replace("no-lrn:", f"{name}:")
    path.write_text(text if place == "variants" else text.replace("variants:", "factors:"))
    refused(harness("check", "mine", cwd=tmp_path), f"mine/study.yaml: {place}: got the name ", "in quotes")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"variants": {"base": TINY, "base-1": TINY}}, ["variants.base-1: is the name of a run of base"]),
        ({"variants": {}, "factors": {"a": {}}}, ["mine/study.yaml: plan: missing", "[{kind: one_factor}]"]),
        ({"factors": {"a": {}}}, ["mine/study.yaml: plan: missing"]),
    ],
)
def test_names_that_make_no_run_or_two_are_refused(tmp_path: Path, change: dict[str, Any], parts: list[str]) -> None:
    mine(tmp_path, **change)
    refused(harness("check", "mine", cwd=tmp_path), *parts)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{text}", ""),
        ("\ufeff{text}", ""),
        ('{{"name": mine, title: x}}', "purpose: missing"),
        ("", "is empty"),
        ("# to be written\n", "is empty"),
        ("- 1\n", "got [1]; a mapping of settings is allowed"),
        ("title: x\n", "name: missing"),
        ("name: My Study\n", "name: got 'My Study'"),
        ("\x00\x00", "not valid YAML"),
        ("<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> other\n", "has an unresolved merge conflict"),
    ],
)
def test_a_study_is_found_by_its_name_however_broken_its_file_is(tmp_path: Path, content: str, part: str) -> None:
    path = mine(tmp_path)
    text = content.format(text=path.read_text())
    path.write_text(text)
    done = harness("check", "mine", cwd=tmp_path)
    if part:
        refused(done, f"mine/study.yaml: {part}")
    else:
        assert done.returncode == 0, done.stderr
    for encoding in ("utf-16", "utf-32"):
        path.write_bytes(text.encode(encoding) if text else b"\xff\xfe")
        refused(harness("run", "mine", cwd=tmp_path), "mine/study.yaml: cannot be read", "UTF-8")


def test_one_run_of_a_study_at_a_time_and_the_other_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(mine(tmp_path))
    monkeypatch.chdir(tmp_path)
    with alone(study, "run"):
        for command in ("run", "tidy"):
            refused(harness(command, "mine", cwd=tmp_path), f"{command}: mine is at work", f"({os.getpid()}: harness)")
        with alone(load_study(Path("experiments/study.yaml")), "run"):
            pass  # another study may run beside it
    with subprocess.Popen([sys.executable, "-c", "input()", "dvc"], stdin=subprocess.PIPE) as dvc:
        held = {"write": {str(tmp_path / study.folder / "runs/base-0/train"): {"pid": dvc.pid, "cmd": "dvc repro"}}}
        write_json(RWLOCK, held | {"read": {str(tmp_path / "harness"): [{"pid": 1, "cmd": "dvc"}]}})
        refused(harness("run", "mine", cwd=tmp_path), "run: mine is at work", f"({dvc.pid}: dvc)")
        with alone(load_study(Path("experiments/study.yaml")), "run"):
            pass
        dvc.communicate(b"\n")
    with alone(study, "run"):
        pass  # what the dead held is free, as DVC sees it, too


def test_tidy_removes_what_nothing_declares_or_names_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = make_study(Path("."), epochs=2)
    make_results(study, Path("."))
    runs = {cell.key: read_run(RunFolder.of(cell.results)) for cell in study.cells}
    weights = {key: entry_of(run.fingerprint, run.hashes.weights).training for key, run in runs.items()}
    images = packed_at(IMAGES.name, IMAGES.hash)
    others = [Path("runs/0123456789ab-0123456789ab"), Path("data/imagenet-0123456789ab")]
    kept = [images, Path("runs/mine"), Path("data/photos-of-2024"), Path("data/.packing-x")]
    for folder in (*weights.values(), *others, *kept):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"0" * 1000)
    Path(f"{others[1]}.seen.json").write_text("{}")
    assert tidy(study, Path("."), remove=True)[-1].startswith("tidy: 2 folders")
    assert not any(folder.exists() for folder in [*others, Path(f"{others[1]}.seen.json")])

    renamed = load_study(Path("experiments/study.yaml"))
    renamed.variants["no-norm"] = renamed.variants.pop("no-lrn")
    gone = [key for key in weights if key.startswith("no-lrn-")]
    listed = tidy(renamed, Path("."), remove=False)
    assert len(listed) == 2 * len(gone) + 1
    assert all(place.exists() for place in (*weights.values(), *kept))
    assert "harness tidy components --yes" in listed[-1]
    tidy(renamed, Path("."), remove=True)
    assert {key for key, place in weights.items() if not place.exists()} == {*gone}
    assert {cell.key for cell in study.cells if not cell.results.exists()} == {*gone}
    assert all(place.exists() for place in kept)
    assert tidy(renamed, Path("."), remove=True) == ["tidy: nothing can be removed"]
    assert all(HASHED.fullmatch(place.name) for place in (images, *weights.values()))


def test_what_is_to_be_committed_is_all_that_a_run_leaves_but_the_copied_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mine(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".gitignore").write_text("/.dvc/\n")
    commit()
    study = load_study(path.relative_to(tmp_path))
    write_json(STAGES, {})
    write_pipeline(study)
    assert harness("check", "mine", cwd=tmp_path).returncode == 0
    for cell in study.cells:
        (cell.results / "train").mkdir(parents=True)
        (cell.results / "train/config.json").write_text("{}")
    for file in ("reports/mine.md", "reports/README.md", "experiments/mine/dvc.lock"):
        Path(file).write_text("x\n")
    git("add", str(STAGES))
    (line,) = (line for line in differing(study, Path(".")) if line.startswith("keep them: "))
    words = line.removeprefix("keep them: ").removesuffix(" && git commit").split()
    subprocess.run(words, check=True)
    git("commit", "-qm", "mine")
    assert git("status", "--porcelain", "-uall").split("\n") == ["?? experiments/mine/dvc.yaml", ""]
    assert differing(study, Path(".")) == []
    # What was declared alone is to be committed, too.
    path.write_text(path.read_text() + "\n")
    assert differing(study, Path(".")) == ["keep them: git add experiments/mine/study.yaml && git commit"]


@pytest.mark.parametrize("errors", [[0.0, 0.0], [0.0], [50.0, 0.0], [50.0], []])
def test_curves_of_any_errors_are_drawn_without_a_warning(errors: list[float]) -> None:
    table = [
        {"variant": name, "seed": 0, "status": "finished", "epoch": epoch, "validation_top1": error}
        for name in ("base", "a")
        for epoch, error in enumerate(errors, 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert curves(table, ["base", "a"], "base", "validation_top1", "error").startswith(b"<?xml")
