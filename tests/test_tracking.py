"""MLflow shows the recorded runs: each once, however often they are published, and whenever the server was there."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fake_study import diverge, make_results, make_run, make_study
from harness.report.cells import read_results
from harness.report.looks import standing
from harness.report.render import render
from harness.report.tables import VariantRow, variant_rows
from mlflow import MlflowClient
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UserError
from harness.record import RunFolder, read_provenance
from harness.settings.schema import Settings
from harness.settings.study import Study
from harness.tracking.publish import Published, note, pending, publish
from harness.tracking.store import _make_database, shown

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
SMALL = """
name: pair
title: Two variants
purpose: A study of two.
data: {source: fashion-mnist-8k}
seeds: [0, 1]
variants:
  base: &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 3}
  no-lrn: {<<: *base, lrn: false}
"""
Made = tuple[Study, tuple[Settings, int], Path]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A study of two variants and two seeds with results, candidate and report, in a folder of its own."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    study = make_study(tmp_path, SMALL)
    make_results(study, tmp_path)
    candidate = (study.variants["base"], 0)
    make_run(tmp_path / study.candidate_results, *candidate)
    render(study, candidate, tmp_path)
    return study, candidate, tmp_path


def everything(client: MlflowClient, published: Published) -> dict[str, Any]:
    """Every run's tags, params, metrics with all their points, status and times, and its artifacts."""
    found = {}
    for run in client.search_runs([published.experiment], max_results=1000):
        points = {
            key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        artifacts = sorted(a.path for a in client.list_artifacts(run.info.run_id))
        info = run.info
        when = (info.start_time, info.end_time)
        found[info.run_id] = (info.run_name, info.status, when, run.data.tags, run.data.params, points, artifacts)
    return found


def by(client: MlflowClient, published: Published, role: str) -> list[Any]:
    return list(client.search_runs([published.experiment], f"tags.role = '{role}'", max_results=1000))


def local(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def test_publishing_twice_gives_the_same_runs(made: Made) -> None:
    first = publish(*made)
    before = everything(local(made[2]), first)
    second = publish(*made)
    assert (first.new, second.new) == (5, 0)
    assert everything(local(made[2]), second) == before


def test_runs_are_laid_out_as_a_user_of_mlflow_expects(made: Made) -> None:
    published = publish(*made)
    client = local(made[2])
    assert client.get_experiment(published.experiment).name == "pair"
    runs = by(client, published, "train")
    assert sorted(r.info.run_name for r in runs) == ["base/s0", "base/s1", "candidate/s0", "no-lrn/s0", "no-lrn/s1"]
    assert {r.data.tags["mlflow.parentRunId"] for r in runs} == {published.execution}
    run = next(r for r in runs if r.info.run_name == "no-lrn/s1")
    assert run.data.params["lrn"] == "False"
    assert (run.data.params["variant"], run.data.params["seed"]) == ("no-lrn", "1")
    files = RunFolder.of(made[2] / "reports/pair/runs/no-lrn-1")
    metrics = json.loads(files.metrics.read_text())
    assert run.data.metrics["test_top1"] == metrics["test_top1"]
    assert run.data.tags["hash.weights"] == read_provenance(files.provenance).hashes.weights
    assert run.data.tags["mlflow.source.git.commit"].startswith("0123456789abcdef")
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_006_000)
    points = client.get_metric_history(run.info.run_id, "validation/top1")
    assert [(p.step, p.timestamp) for p in points] == [(n, 1_700_000_000_000 + 2000 * n) for n in (1, 2, 3)]
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["fashion-mnist-8k"]
    mean = next(r for r in by(client, published, "mean") if r.data.tags["variant"] == "no-lrn")
    errors = [r.data.metrics["test_top1"] for r in runs if r.data.params["variant"] == "no-lrn"]
    assert mean.data.metrics["test_top1"] == pytest.approx(sum(errors) / 2)
    assert mean.data.metrics["n"] == 2
    note = client.get_run(published.execution).data.tags["mlflow.note.content"]
    assert "A study of two." in note
    assert "| `no-lrn` | 2 of 2 |" in note
    report = client.list_artifacts(published.execution, "report")
    assert {a.path for a in report} == {"report/pair.md", "report/pair.html", "report/pair"}
    assert "report/pair/forest.svg" in {a.path for a in client.list_artifacts(published.execution, "report/pair")}


def means(client: MlflowClient, published: Published) -> dict[str, Any]:
    """The means of an execution by variant: each once."""
    runs = [r for r in by(client, published, "mean") if r.data.tags["execution"] == published.execution]
    found = {r.data.tags["variant"]: r for r in runs}
    assert len(found) == len(runs)
    return found


def row_of(made: Made) -> VariantRow:
    """What the report's table has of the variant without LRN."""
    return variant_rows(made[0], read_results(*made))[1]


def test_a_mean_has_the_verdict_of_the_report(made: Made) -> None:
    published = publish(*made)
    client = local(made[2])
    own, row = means(client, published), row_of(made)
    assert row.comparison
    assert own["no-lrn"].data.tags["verdict"] == row.comparison.verdict
    told = own["no-lrn"].data.metrics
    assert (told["adjusted_p"], told["se"]) == pytest.approx((row.comparison.adjusted, row.comparison.se))
    assert "verdict" not in own["base"].data.tags
    assert {"adjusted_p", "se"}.isdisjoint(own["base"].data.metrics)
    lines = client.get_run(published.execution).data.tags["mlflow.note.content"].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]
    assert [line[-1] for line in cells] == ["verdict", cells[1][-1], "–", row.comparison.verdict]
    assert {len(line) for line in cells if line != cells[1]} == {6}


def test_a_verdict_that_is_another_now_takes_the_place_of_the_one_that_was_published(made: Made) -> None:
    published = publish(*made)
    client = local(made[2])
    before = without_ids(everything(client, published))
    client.set_tag(means(client, published)["no-lrn"].info.run_id, "verdict", "helps")
    assert publish(*made).new == 0
    assert without_ids(everything(client, published)) == before
    # As a version without verdicts published it.
    client.delete_tag(means(client, published)["no-lrn"].info.run_id, "verdict")
    publish(*made)
    client.log_metric(means(client, published)["no-lrn"].info.run_id, "adjusted_p", 0.001, 1, 0)
    publish(*made)
    assert without_ids(everything(client, published)) == before


def test_an_interim_study_publishes_no_verdict(made: Made) -> None:
    study, candidate, root = made
    shutil.rmtree(root / study.cells[3].results)
    published = publish(study, candidate, root)
    own = means(local(root), published)["no-lrn"]
    assert "verdict" not in own.data.tags
    assert "adjusted_p" not in own.data.metrics
    note = local(root).get_run(published.execution).data.tags["mlflow.note.content"]
    assert "**Interim: 1 of 2 seeds are complete.**" in note
    assert next(line for line in note.splitlines() if line.startswith("| `no-lrn`")).endswith("| – |")


def test_a_declared_look_publishes_its_verdict(made: Made) -> None:
    _, candidate, root = made
    study = make_study(root, SMALL.replace("[0, 1]", "[0, 1, 2]\nlooks: [2, 3]"))
    published = publish(study, candidate, root)
    row = row_of((study, candidate, root))
    assert row.comparison
    assert means(local(root), published)["no-lrn"].data.tags["verdict"] == row.comparison.verdict
    shutil.rmtree(root / study.cells[0].results)
    before_any = publish(study, candidate, root)
    assert "verdict" not in means(local(root), before_any)["no-lrn"].data.tags
    assert means(local(root), published)["no-lrn"].data.tags["verdict"], "what an earlier execution said stays"


def test_a_note_of_many_variants_is_no_longer_than_a_tag_may_be(tmp_path: Path) -> None:
    names = [f"v{number:02}-".ljust(63, "x") for number in range(45)]
    added = "\n".join(f"  {name}: {{<<: *base, lr: 0.0{place + 1:02}}}" for place, name in enumerate(names))
    text = SMALL.replace("A study of two.", "why " * 400) + added
    study = make_study(tmp_path, text)
    make_results(study, tmp_path)
    results = read_results(study, None, tmp_path, early=True)
    said = note(study, variant_rows(study, results), standing(study, results))
    assert said.count("| 2 of 2 |") == 40
    assert said.endswith("7 more variants: see the report.")
    assert len(said) <= 8000


def test_a_run_trained_again_is_new_and_the_old_one_stays(made: Made) -> None:
    study, candidate, root = made
    first = publish(*made)
    make_run(root / study.cells[0].results, study.variants["base"], 0, provenance__started=1.8e9)
    second = publish(study, candidate, root)
    assert second.new == 1
    assert second.execution != first.execution
    runs = [r for r in by(local(root), second, "train") if r.info.run_name == "base/s0"]
    assert sorted((r.data.tags["current"], r.data.tags["mlflow.parentRunId"]) for r in runs) == sorted(
        [("false", first.execution), ("true", second.execution)]
    )


def current(client: MlflowClient, published: Published) -> list[str]:
    return sorted(r.info.run_name for r in by(client, published, "train") if r.data.tags["current"] == "true")


def test_the_comparison_holds_what_is_declared(made: Made) -> None:
    study, candidate, root = made
    others = ["base/s0", "base/s1", "candidate/s0"]
    declared = publish(study, candidate, root)
    client = local(root)
    changed = make_study(root, SMALL.replace("lrn: false", "lrn: false, dropout: 0"))
    assert publish(changed, candidate, root).execution != declared.execution
    assert current(client, declared) == others, "a run of other settings than those declared now"
    publish(study, candidate, root)
    assert current(client, declared) == [*others, "no-lrn/s0", "no-lrn/s1"]
    renamed = make_study(root, SMALL.replace("no-lrn:", "without:"))
    publish(renamed, candidate, root)
    assert current(client, declared) == others, "a variant that is declared no longer"
    assert len(by(client, declared, "train")) == 5, "none of them is lost"


def test_candidates_of_a_sweep_stand_beside_each_other(made: Made) -> None:
    study, candidate, root = made
    publish(*made)
    flipped = (candidate[0].model_copy(update={"lrn": False}), 0)
    make_run(root / study.candidate_results, *flipped)
    published = publish(study, flipped, root)
    runs = by(local(root), published, "train")
    candidates = {r.info.run_name: r.data.tags["current"] for r in runs if r.data.tags["cell"] == "candidate"}
    assert candidates == {"candidate/s0": "true", "candidate lrn=False/s0": "true"}
    make_run(root / study.candidate_results, *flipped, provenance__started=1.8e9)
    again = [r for r in by(local(root), publish(study, flipped, root), "train") if r.data.tags["cell"] == "candidate"]
    assert sorted((r.info.run_name, r.data.tags["current"]) for r in again) == [
        ("candidate lrn=False/s0", "false"), ("candidate lrn=False/s0", "true"), ("candidate/s0", "true")
    ]  # fmt: skip


class Killed(BaseException):
    """What a kill does: nothing after it is done, and nobody catches it."""


WRITES = (
    "create_run", "delete_run", "log_artifact", "log_batch", "log_inputs", "log_text",
    "set_experiment_tag", "set_tag", "set_terminated",
)  # fmt: skip


@contextmanager
def killed_after(writes: int) -> Iterator[list[str]]:
    """Let a client write so often, and no more; the list names its writes."""
    done: list[str] = []

    def counted(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        def go(*args: Any, **more: Any) -> Any:
            if len(done) == writes:
                raise Killed
            done.append(name)
            return write(*args, **more)

        return go

    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, counted(name, getattr(MlflowClient, name)))
        yield done


def test_a_publication_that_was_killed_anywhere_is_completed(
    made: Made, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, candidate, root = made
    _make_database(root / "mlflow.db")  # seconds, so once

    def fresh() -> Path:
        """The results beside a store of their own: MLflow keeps a file open that it has seen."""
        return Path(shutil.copytree(root, tmp_path_factory.mktemp("killed") / "root"))

    whole = fresh()
    with killed_after(1000) as writes:
        published = publish(study, candidate, whole)
    want = without_ids(everything(local(whole), published))
    # Around the ends of the first runs, where it is decided what is complete, and now and then.
    ends = [i for i, name in enumerate(writes) if name == "set_terminated"][:2]
    assert len(writes) > 40
    for number in sorted({end + more for end in ends for more in (0, 1, 2)} | set(range(1, len(writes), 9))):
        place = fresh()
        with killed_after(number) as done, pytest.raises(Killed):
            publish(study, candidate, place)
        again = publish(study, candidate, place)
        assert without_ids(everything(local(place), again)) == want, f"killed after {done}"


def without_ids(runs: dict[str, Any]) -> list[Any]:
    """Runs as they are shown, other runs by their names, without the times that are those of the publication."""
    names = {run_id: run[0] for run_id, run in runs.items()}
    found = []
    for name, status, (_, end), tags, *rest in runs.values():
        own_end = end if tags["role"] == "train" else None
        found.append([name, status, own_end, {key: names.get(value, value) for key, value in tags.items()}, *rest])
    return sorted(found, key=str)


def test_missing_and_diverged_runs(made: Made) -> None:
    study, candidate, root = made
    shutil.rmtree(root / study.cells[3].results)
    diverge(root / study.cells[0].results, 2)
    published = publish(study, candidate, root)
    runs = {r.info.run_name: r for r in by(local(root), published, "train")}
    assert set(runs) == {"base/s0", "base/s1", "no-lrn/s0", "candidate/s0"}
    assert runs["base/s0"].info.status == "FAILED"
    assert runs["base/s0"].data.metrics["diverged"] == 1
    assert runs["base/s0"].data.tags["status"] == "diverged"
    assert runs["base/s1"].data.metrics["diverged"] == 0


def publisher(root: Path, **environment: str) -> "subprocess.Popen[str]":
    kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    return subprocess.Popen(
        [sys.executable, "-m", "harness", "publish"], cwd=root, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**kept, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


def with_candidate_file(made: Made) -> Path:
    from ruamel.yaml import YAML

    with (made[2] / "params.yaml").open("w") as file:
        YAML(typ="safe").dump({"preset": ["paper", "small"], "width": 0.5, "colour": 0, "epochs": 3, "seed": 0}, file)
    return made[2]


def test_three_processes_on_a_fresh_store_lose_nothing(made: Made) -> None:
    root = with_candidate_file(made)
    processes = [publisher(root) for _ in range(3)]
    told = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], told
    assert sorted(line.split("(")[1].split()[0] for line in "".join(told).splitlines() if "published:" in line) == [
        "0", "0", "5"
    ]  # fmt: skip
    after = publish(*made)
    assert after.new == 0
    assert len(by(local(root), after, "train")) == 5
    assert len(by(local(root), after, "study")) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(port: int, process: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("the server does not answer")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any, Path]]:
    """The address of a tracking server that is down, how to start it, and its database."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        process = subprocess.Popen(
            [
                sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                "--backend-store-uri", f"sqlite:///{folder}/server.db",
                "--artifacts-destination", str(folder / "artifacts"),
            ],
            env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(process)
        wait(port, process)

    yield f"http://127.0.0.1:{port}", start, folder / "server.db"
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_is_down_fails_nothing_and_gets_all_later(
    made: Made, server: tuple[str, Any, Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    address, start, database = server
    root = with_candidate_file(made)
    begin = time.monotonic()
    process = publisher(root, MLFLOW_TRACKING_URI=address.replace("//", "//user:secret@"))
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert f"not published: {address} does not answer; `harness publish` publishes later" in told
    assert "secret" not in told
    assert time.monotonic() - begin < 45
    assert not (root / "mlflow.db").exists(), "nothing goes to another store instead"
    start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.replace("//", "//user:hunter2@"))
    published = publish(*made)
    assert published.new == 5
    client = MlflowClient(address)
    before = everything(client, published)
    assert publish(*made).new == 0
    assert everything(client, published) == before
    opened = subprocess.run(
        [sys.executable, "-m", "harness", "ui"], cwd=root, text=True, capture_output=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert f"comparison: {address}/#/experiments/{published.experiment}/" in opened.stdout
    printed = capfd.readouterr()
    for text in (str(published), printed.out, printed.err, opened.stdout, opened.stderr):
        assert "hunter2" not in text, "a password is not shown"
    with sqlite3.connect(database) as rows:
        assert "hunter2" not in "\n".join(rows.iterdump()), "a password is not stored"
    assert not any("hunter2" in file.read_text(errors="replace") for file in root.rglob("*") if file.is_file())
    assert not (root / "mlflow.db").exists()
    assert "report/pair.md" in {a.path for a in client.list_artifacts(published.execution, "report")}


def test_what_was_not_published_is_pending_until_it_is(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(with_candidate_file(made))
    words = ["publish", made[0].path.as_posix()]
    assert not pending(made[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert pending(made[0])
    assert "secret" not in "".join(path.read_text() for path in Path("build").iterdir())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    assert not pending(made[0])


def test_a_password_is_never_shown() -> None:
    assert shown("https://user:secret@host:5000/path") == "https://host:5000/path"
    assert shown("postgresql+psycopg2://me:secret@db/mlflow") == "postgresql+psycopg2://db/mlflow"
    assert shown("postgresql://db/mlflow?user=me&password=secret") == "postgresql://db/mlflow"
    assert shown("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"


@pytest.fixture
def rude() -> Iterator[tuple[str, list[int]]]:
    """A server that says that it is there, and answers every question with a status, first of a list; 0: not at all."""
    answers: list[int] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health" and not answers[0]:
                over.wait(60)
            status = 200 if self.path == "/health" else answers[0] or 503
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}", answers
        over.set()
        server.shutdown()
        thread.join()


def test_a_server_that_refuses_or_hangs_is_said_in_one_line(
    made: Made, rude: tuple[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, answers = rude
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    answers[:] = [401]
    with pytest.raises(UserError, match="MLflow at http://127") as refused:
        publish(*made)
    assert "401" in str(refused.value)
    assert "secret" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    answers[:] = [0]
    assert str(publish(*made)).startswith("not published: http://127.0.0.1")


def test_a_service_that_is_no_http_server_is_said_in_one_line(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as service:
        service.bind(("127.0.0.1", 0))
        service.listen()

        def greet() -> None:
            connection, _ = service.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
                connection.recv(4096)  # else the answer is lost with a connection that is reset

        thread = threading.Thread(target=greet)
        thread.start()
        address = f"127.0.0.1:{service.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@{address}")
        assert str(publish(*made)).startswith(f"not published: http://{address} does not answer")
        thread.join()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://127.0.0.1:1/a b")
    assert str(publish(*made)).startswith("not published: https://127.0.0.1:1/a b does not answer")


def test_a_store_that_cannot_be_used_is_said_in_one_line(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    root = made[2]
    for uri, said in (
        ("http://user:secret/@host", "not an address"),
        (f"sqlite:///{root}", "unable to open"),
        ("mysql+nodriver://user:secret@host/db", "nodriver"),
        ("nonsense://user:secret@host", "unsupported"),
        ("./mlruns", "maintenance"),
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(UserError, match=said) as error:
            publish(*made)
        assert "secret" not in str(error.value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (root / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(UserError, match="not a database"):
        publish(*made)
    (root / "mlflow.db").unlink()
    (root / "mlartifacts").write_text("no folder")
    with pytest.raises(UserError, match="mlartifacts"):
        publish(*made)


def test_an_experiment_that_was_deleted_is_said_in_one_line(made: Made) -> None:
    published = publish(*made)
    local(made[2]).delete_experiment(published.experiment)
    with pytest.raises(UserError, match=r"deleted.*mlflow experiments restore"):
        publish(*made)


@contextmanager
def interface(made: Made, end: signal.Signals) -> Iterator[dict[str, str]]:
    """The links that `harness ui` prints, while it runs; `end` ends it, and its server with it."""
    root, port = with_candidate_file(made), free_port()
    kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "DVC_ROOT")}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "harness", "ui", "--port", str(port)], cwd=root, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**kept, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    links: dict[str, str] = {}
    assert process.stdout
    for line in process.stdout:
        name, _, link = line.partition(":")
        links[name] = link.strip()
        if name == "report":
            break
    try:
        assert {"comparison", "table", "report"} <= set(links), links
        yield links
    finally:
        process.send_signal(end)
        assert process.wait(60) == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server is gone with its command"


def test_the_interface_answers_and_ends_with_its_terminal(made: Made) -> None:
    with interface(made, signal.SIGHUP) as links:
        address, _, path = links["comparison"].partition("/#/experiments/")
        assert address.startswith("http://127.0.0.1:"), "offered to this machine alone"
        experiment = MlflowClient(address).get_experiment(path.partition("/")[0])
        assert experiment.name == "pair"
        assert "mlflow.sharedViewState.comparison" in experiment.tags


def test_the_interface_opens_on_the_comparison(made: Made) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    browser_path = next((p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(p).exists()), None)
    if browser_path is None:
        pytest.skip("needs Debian's chromium")
    with interface(made, signal.SIGINT) as links, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=browser_path,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(links["comparison"])
        page.wait_for_selector("text=no-lrn", timeout=60_000)
        page.wait_for_selector("text=validation/top1", timeout=60_000)
        shown_text = page.inner_text("body")
        browser.close()
    for word in ("base", "no-lrn", "candidate", "test_top1"):
        assert word in shown_text


def test_a_port_in_use_is_said_in_one_line(made: Made) -> None:
    root = with_candidate_file(made)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "harness", "ui", "--port", str(taken.getsockname()[1])], cwd=root, text=True,
            capture_output=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert done.returncode == 2
    assert "cannot be used" in done.stderr.splitlines()[-1]
