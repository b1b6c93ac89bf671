"""A repository that was moved, copied, cloned or unpacked, and commands from its folders: nothing goes astray."""

import errno
import fcntl
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from clones import built, call, clone
from conftest import study_file
from fake_study import make_study
from mlflow import MlflowClient
from test_bad_input import harness, project, refused, train
from test_tracking import SMALL, Made, copied, prepared

from harness import files
from harness.cli import main
from harness.errors import UserError
from harness.tracking.database import path_of, sqlite_uri
from harness.tracking.publish import Publication, publish

__all__ = ["built", "clone", "prepared"]  # fixtures
ROOT = Path(__file__).parent.parent


def client(root: Path) -> MlflowClient:
    return MlflowClient(sqlite_uri(root / "mlflow.db"))


def everything_below(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}


def written(store: MlflowClient, published: Publication) -> Path:
    """Where the report of a publication lies, which MLflow finds there."""
    assert "report/pair.md" in {file.path for file in store.list_artifacts(published.execution, "report")}
    return Path(path_of(store.get_run(published.execution).info.artifact_uri))


@pytest.fixture
def moving(prepared: Path, tmp_path: Path) -> Made:
    made = copied(prepared, tmp_path / "old/here")
    publish(*made)
    return made


def moved(made: Made, to: Path, copy: bool) -> Made:
    """The repository in another place, with another report: there is something to publish."""
    to.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if copy else shutil.move)(made[2], to)
    with (to / "reports/pair.md").open("a") as page:
        page.write("\nMoved.\n")
    return make_study(to, SMALL), made[1], to


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new", "why?x=1", "half #50% of a%20b"])
@pytest.mark.parametrize("copy", [False, True])
def test_a_store_that_came_along_writes_beside_itself(
    moving: Made, tmp_path: Path, name: str, copy: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = moved(moving, tmp_path / name / "repository", copy)
    if not copy:
        shutil.rmtree(tmp_path / "old")
        (tmp_path / "old").write_text("nobody can make the old folder here")
    before = everything_below(tmp_path / "old")
    published = publish(*made)
    assert (published.runs, published.new) == (5, 0)
    assert capsys.readouterr().out.count("came from") == 1
    assert written(client(made[2]), published).is_relative_to(made[2] / "mlartifacts")
    for run in client(made[2]).search_runs([published.experiment]):
        assert Path(path_of(run.info.artifact_uri)).is_relative_to(made[2])
    assert everything_below(tmp_path / "old") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["old", name]), "nothing stands beside"
    publish(*made)
    assert "came from" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_store_of_several_repositories_stays_as_it_is_while_its_artifacts_are_there(
    moving: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, root = tmp_path / "shared", moving[2]
    shared.mkdir()
    shutil.copy(root / "mlflow.db", shared)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri(shared / "mlflow.db"))
    made = moved(moving, tmp_path / "other", copy=True)
    assert written(client(shared), publish(*made)).is_relative_to(root)
    shutil.rmtree(root)
    (made[2] / "reports/pair.md").write_text("# Two variants\n")
    assert written(client(shared), publish(*made)).is_relative_to(shared)
    assert not root.exists()
    store = client(shared)
    store.rename_experiment(store.get_experiment_by_name("pair").experiment_id, "before")
    store.create_experiment("pair", (root / "elsewhere/pair").as_uri())
    with pytest.raises(UserError, match=f"keeps its artifacts in {root}, which is not there"):
        publish(*made)


@pytest.mark.slow
def test_a_clone_publishes_and_a_store_that_fails_fails_no_study(clone: Path) -> None:
    (clone / "mlartifacts").write_text("no folder")
    output = call(clone, sys.executable, "-m", "harness", "run")
    assert output.count("warning: not published: MLflow at sqlite:") == 1, output
    assert "harness publish tiny" in output
    assert "warning" in call(clone, "dvc", "repro", "-f", "-s", "publish")
    refusal = call(clone, sys.executable, "-m", "harness", "publish", status=2).splitlines()[-1]
    assert refusal.startswith("harness: MLflow at sqlite:"), refusal
    (clone / "mlartifacts").unlink()
    below = clone / "experiments/below"
    below.mkdir()
    output = call(below, "env", f"PYTHONPATH={clone}", sys.executable, "-m", "harness", "run")
    assert "published: 3 runs" in output, "from a folder below, with a pipeline that has nothing to do"
    experiment = client(clone).get_experiment_by_name("tiny")
    assert len(client(clone).search_runs([experiment.experiment_id], "tags.role = 'train'")) == 3


@pytest.mark.slow
def test_an_archive_without_git_is_told_what_to_do(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    shutil.copytree(built, folder, ignore=shutil.ignore_patterns(".git", "tmp", "runs", "data"))
    for remedy in (["git", "init", "-q"], ["dvc", "config", "core.no_scm", "true"]):
        refused(harness("run", cwd=folder), "no git repository", " ".join(remedy[:2]))
        call(folder, *remedy)
        assert "publish" in call(folder, "dvc", "repro", "--dry", "-f", "-s", "publish")
        shutil.rmtree(folder / ".git", ignore_errors=True)
    (folder / ".dvc/config").write_text("<<<<<<< HEAD\n")
    refused(harness("run", cwd=folder), "dvc: config file error")
    shutil.rmtree(folder / ".dvc")
    refused(harness("run", cwd=folder), "has no .dvc", "git init && dvc init", "dvc init --no-scm")


@pytest.mark.slow
def test_an_experiment_that_dvc_would_lose_is_refused(built: Path, tmp_path: Path) -> None:
    call(tmp_path, "git", "clone", "-q", "--depth", "1", built.as_uri(), "shallow")
    output = call(tmp_path / "shallow", "dvc", "exp", "run", "--temp", "-S", "lrn=false", status=None)
    assert "is a shallow clone, in which DVC loses experiments; run: git fetch --unshallow" in output
    assert "Running stage 'train" not in output


def test_a_repository_that_git_does_not_read_is_refused_by_what_asks_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project(tmp_path)
    (folder / ".git").write_text("gitdir: /nowhere\n")
    for words in (["run"], ["train", "base-0"], ["verify", "tiny", "base"], ["diff", "A", "B"], ["discard", "tiny"]):
        refused(harness(*words, cwd=folder), "git does not read this repository", "safe.directory")
    assert harness("variants", "tiny", cwd=folder).returncode == 0
    monkeypatch.setenv("PATH", str(folder))
    refused(harness("run", cwd=folder), "no git is found in PATH")


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("data <&- >&- 2>&-", 0, ""),  # a bar asks what its output is
        ("check none 2>&-", 2, "harness: none: no study of that name; allowed: tiny"),
        ("variants > /dev/full", 2, "harness: standard output: No space left on device"),
        ("variants | head -1", 0, "Net"),
        ("data", 0, "data: 768 images of synthetic"),
    ],
)
def test_a_command_works_with_whatever_its_shell_gives_it(tmp_path: Path, command: str, status: int, said: str) -> None:
    """Streams that are closed, full or not read to their end, and warnings that are errors: a library has some."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    words = ["sh", "-c", f"{sys.executable} -m harness {command}"]
    done = subprocess.run(words, cwd=project(tmp_path), env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith(said) or done.stderr.startswith(said)) == (status, True), done
    assert "Traceback" not in done.stderr
    assert (tmp_path / "reports/tiny/data.json").exists() == command.startswith("data")


@pytest.mark.parametrize("place", ["reports", "experiments/other", "deep/er"])
def test_a_command_works_in_every_folder_and_takes_paths_from_there(tmp_path: Path, packed: Path, place: str) -> None:
    root = project(tmp_path)
    study_file(root / "experiments/other", name="other")
    below, up = root / place, os.path.relpath(root, root / place)
    (below / "tiny").mkdir(parents=True)  # the study's name is one all the same

    def out(*words: object, cwd: Path = below) -> str:
        done = harness(*words, cwd=cwd)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for words in (
        ["plan", "--rate", 100],
        ["variants", "tiny"],
        ["variants", "other"],
        ["describe", "no-lrn-1"],
        ["check"],
    ):
        assert out(*words) == out(*words, cwd=root), words
    assert out("variants", f"{up}/experiments/other") == out("variants", "other")
    assert out("describe", f"{up}/params.yaml") == out("describe", "params.yaml")
    assert out("describe", f"{up}/experiments/study.yaml:no-lrn") == out("describe", "tiny:no-lrn")
    out("train", f"{up}/experiments/other/study.yaml:base", "--seed", 0, "--out", "made/x", "--data", packed)
    assert (below / "made/x/config.json").exists()
    out("eval", "made/x", "made/y", "--data", os.path.relpath(packed, below))
    assert (below / "made/y/metrics.json").exists()
    refused(harness("check", "none.yaml", cwd=below), "none.yaml: no such file")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = f"rmdir ../gone; {sys.executable} -m harness plan"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(  # noqa: S602
        command, shell=True, cwd=tmp_path / "gone", env=environment, capture_output=True, text=True, check=False
    )
    refused(done, "is there no more")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
@pytest.mark.parametrize("command", ["data", "publish", "train"])
def test_a_file_system_without_locks_is_said(
    tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch, number: int, command: str
) -> None:
    folder = project(tmp_path)
    for name in ("data/.packing.lock", ".mlflow.lock"):  # from where there were locks
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()

    def none(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    refused(train(folder, packed) if command == "train" else harness(command, cwd=folder), os.strerror(number))


def test_what_is_written_is_as_open_to_a_group_as_its_user_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o2775)  # new folders have the group of this one
    for umask, file, folder in ((0o022, 0o644, 0o2755), (0o002, 0o664, 0o2775), (0o077, 0o600, 0o2700)):
        monkeypatch.setattr(files, "UMASK", umask)
        files.write_text(tmp_path / "file", "")
        with files.atomic_folder(tmp_path / "folder"):
            pass
        modes = [(tmp_path / name).stat().st_mode & 0o7777 for name in ("file", "folder")]
        assert modes == [file, folder]


@pytest.mark.parametrize("name", ["data", ".checkpoints", "runs"])
def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path, packed: Path, name: str) -> None:
    folder = project(tmp_path)
    (folder / name).touch()
    done = harness("data", cwd=folder) if name == "data" else train(folder, packed)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"harness: {name}"), done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [(MemoryError(), "no memory left"), (ImportError("libtorch_cpu.so: failed to map segment"), "failed to map")],
)
def test_a_lack_of_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("harness.pipeline.checked.write_checked", fails)
    refused(harness("check", cwd=project(tmp_path)), said, "memory")


def test_a_terminal_without_a_letter_gets_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), "ascii") for name in ("stdout", "stderr")}
    monkeypatch.chdir(project(tmp_path, candidate={"lrn": "çok"}))
    monkeypatch.setattr("sys.argv", ["harness", "check"])
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    with pytest.raises(SystemExit) as end:
        main()
    streams["stderr"].seek(0)
    assert end.value.code == 2
    assert "params.yaml: lrn: got '\\xe7ok'" in streams["stderr"].read()
