"""MLflow shows the recorded runs: each once, however often they are published, and whenever the server was there."""

import json
import os
import re
import shutil
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import browser_page
from fake_study import diverge, make_results, make_run, make_study
from mlflow import MlflowClient
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import UserError
from harness.files import write_json
from harness.record import Provenance, RunFolder
from harness.report.build import render
from harness.report.runs import read_results
from harness.report.variants import variant_rows
from harness.settings.schema import Settings
from harness.settings.study import Study
from harness.tracking.database import make_database
from harness.tracking.publish import Publication, note, publish
from harness.tracking.server import serve

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
BASE = {"preset": ["paper", "small"], "width": 0.5, "colour": 0, "epochs": 3, "bits": "native"}
SMALL = f"""
name: pair
title: Two variants
purpose: A study of two.
data: {{source: fashion-mnist-8k}}
seeds: [0, 1]
variants:
  base: &base {json.dumps(BASE)}
  no-lrn: {{<<: *base, lrn: false}}
"""
Made = tuple[Study, tuple[Settings, int], Path]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two variants and two seeds with results, candidate and report, and an MLflow store without runs."""
    root = tmp_path_factory.mktemp("prepared")
    study = make_study(root, SMALL)
    make_results(study, root)
    candidate = (study.variants["base"], 0)
    make_run(root / study.candidate_results, *candidate)
    render(study, candidate, root)
    write_json(root / "params.yaml", BASE | {"seed": 0})  # JSON is YAML
    make_database(root / "mlflow.db")
    return root


def copied(prepared: Path, folder: Path) -> Made:
    """The study in a folder of its own."""
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    study = make_study(folder, SMALL)
    return study, (study.variants["base"], 0), folder


@pytest.fixture
def made(prepared: Path, tmp_path: Path) -> Made:
    return copied(prepared, tmp_path)


@pytest.fixture(scope="module")
def published(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Publication, MlflowClient]:
    """The study, published once: to be looked at alone."""
    made = copied(prepared, tmp_path_factory.mktemp("published"))
    return made, publish(*made), local(made[2])


def everything(client: MlflowClient, published: Publication) -> dict[str, Any]:
    """Every run's tags, params, metrics with all their points, status and times, and its artifacts."""
    runs = {}
    for run in client.search_runs([published.experiment], max_results=1000):
        info, run_id = run.info, run.info.run_id
        points = {
            key: [(m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, key)]
            for key in run.data.metrics
        }
        artifacts = sorted(a.path for a in client.list_artifacts(run_id))
        times = (info.start_time, info.end_time)
        runs[run_id] = (info.run_name, info.status, times, run.data.tags, run.data.params, points, artifacts)
    return runs


def without_ids(runs: dict[str, Any]) -> list[str]:
    """Runs as they are shown, with names in the place of ids."""
    names = {run_id: run[0] for run_id, run in runs.items()}
    return sorted(re.sub("|".join(names), lambda m: names[m[0]], json.dumps(run)) for run in runs.values())


def by(client: MlflowClient, published: Publication, role: str, current: str = "true") -> list[Any]:
    query = f"tags.role = '{role}' and tags.current = '{current}'"
    return list(client.search_runs([published.experiment], query, max_results=1000))


def by_name(runs: list[Any]) -> dict[str, Any]:
    named = {run.info.run_name: run for run in runs}
    assert len(named) == len(runs)
    return named


def local(root: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{root}/mlflow.db")


Published = tuple[Made, Publication, MlflowClient]


def test_runs_are_laid_out_as_a_user_of_mlflow_expects_and_not_doubled(published: Published) -> None:
    made, publication, client = published
    before = everything(client, publication)
    assert (publication.new, publish(*made).new) == (5, 0)
    assert everything(client, publication) == before
    runs, means = by_name(by(client, publication, "train")), by_name(by(client, publication, "mean"))
    assert set(runs) == {"base/s0", "base/s1", "candidate/s0", "no-lrn/s0", "no-lrn/s1"}
    assert set(means) == {"base (n = 2)", "no-lrn (n = 2)"}
    run, mean = runs["no-lrn/s1"], means["no-lrn (n = 2)"]
    # MLflow shows the means, and what is below one after a click.
    assert run.data.tags["mlflow.parentRunId"] == runs["no-lrn/s0"].data.tags["mlflow.parentRunId"]
    assert run.data.tags["mlflow.parentRunId"] == mean.info.run_id
    for top in (mean, runs["candidate/s0"], client.get_run(publication.execution)):
        assert "mlflow.parentRunId" not in top.data.tags
    assert run.data.params["lrn"] == "False"
    assert run.data.params["bits"] == "native", "a setting that a record does not have, since it came later"
    assert (run.data.params["variant"], run.data.params["seed"]) == ("no-lrn", "1")
    files = RunFolder.of(made[2] / "reports/pair/runs/no-lrn-1")
    assert run.data.metrics["test_top1"] == json.loads(files.metrics.read_text())["test_top1"]
    assert run.data.tags["hash.weights"] == Provenance.read(files.provenance).hashes.weights
    assert run.data.tags["mlflow.source.git.commit"].startswith("0123456789abcdef")
    assert (run.info.start_time, run.info.end_time) == (1_700_000_000_000, 1_700_000_006_000)
    points = client.get_metric_history(run.info.run_id, "validation/top1")
    assert [(p.step, p.timestamp) for p in points] == [(n, 1_700_000_000_000 + 2000 * n) for n in (1, 2, 3)]
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["fashion-mnist-8k"]
    report = client.list_artifacts(publication.execution, "report")
    assert {a.path for a in report} == {"report/pair.md", "report/pair.html", "report/pair"}
    assert "report/pair/forest.svg" in {a.path for a in client.list_artifacts(publication.execution, "report/pair")}


def mean_of(client: MlflowClient, published: Publication) -> Any:
    """The current mean of the variant without LRN."""
    (mean,) = (run for run in by(client, published, "mean") if run.data.tags["variant"] == "no-lrn")
    return mean


def test_the_means_are_listed_by_their_difference_with_the_numbers_of_the_report(published: Published) -> None:
    made, publication, client = published
    row = variant_rows(made[0], read_results(*made))[1]
    assert row.comparison
    metrics, tags = mean_of(client, publication).data.metrics, mean_of(client, publication).data.tags
    want = {
        "test_top1": row.error.mean, "test_top1_sd": row.error.sd, "n": 2, "difference": row.difference.mean,
        "limit_lower": row.difference.low, "limit_upper": row.difference.high, "se": row.comparison.se,
        "adjusted_p": row.comparison.adjusted,
    }  # fmt: skip
    assert metrics == pytest.approx(want, rel=1e-4)
    assert tags["verdict"] == row.comparison.verdict
    # MLflow lists the latest first.
    listed = client.search_runs([publication.experiment], "tags.role != 'train'", order_by=["start_time DESC"])
    assert [run.data.tags["role"] for run in listed] == ["study", "mean", "mean"]
    differences = [run.data.metrics["difference"] for run in listed[1:]]
    assert differences == sorted(differences)
    assert 0 in differences, "the baseline's"
    assert listed[0].data.metrics == {"runs": 4, "variants": 1, f"variants/{row.comparison.verdict}": 1}


def test_the_descriptions_hold_the_answer_and_a_link_to_the_report(published: Published) -> None:
    made, publication, client = published
    link = f"(#/experiments/{publication.experiment}/runs/{publication.execution}/artifacts/report/pair.html"
    tags = client.get_experiment(publication.experiment).tags
    texts = [tags["mlflow.note.content"], client.get_run(publication.execution).data.tags["mlflow.note.content"]]
    sentence = texts[0].partition(" [Report]")[0]
    assert sentence in (made[2] / "reports/pair.md").read_text()
    assert all(text.startswith(sentence) and link in text for text in texts)
    assert "| `no-lrn` | 2 of 2 |" in texts[1]
    views = {key.rpartition(".")[2]: json.loads(json.loads(tags[key])["state"]) for key in tags if "ViewState" in key}
    assert views["variants"]["searchFilter"] == "tags.current = 'true'"
    assert views["runs"]["orderByKey"] == "metrics.`test_top1`"


def test_a_declared_look_publishes_its_verdict(made: Made) -> None:
    _, candidate, root = made
    study = make_study(root, SMALL.replace("[0, 1]", "[0, 1, 2]\nlooks: [2, 3]"))
    published = publish(study, candidate, root)
    row = variant_rows(study, read_results(study, candidate, root))[1]
    assert row.comparison
    mean = mean_of(local(root), published)
    assert mean.data.tags["verdict"] == row.comparison.verdict
    shutil.rmtree(root / study.cells[0].results)
    assert mean_of(local(root), publish(study, candidate, root)).data.tags["verdict"] == "none"
    assert local(root).get_run(mean.info.run_id).data.tags["current"] == "false"


def test_a_note_of_many_variants_is_no_longer_than_a_tag_may_be(tmp_path: Path) -> None:
    names = [f"v{number:02}-".ljust(63, "x") for number in range(45)]
    added = "\n".join(f"  {name}: {{<<: *base, lr: 0.0{place + 1:02}}}" for place, name in enumerate(names))
    study = make_study(tmp_path, SMALL.replace("A study of two.", "why " * 400) + added)
    make_results(study, tmp_path)
    text = note(study, variant_rows(study, read_results(study, None, tmp_path, early=True)), "x" * 1200)
    assert text.count("| 2 of 2 |") == 40
    assert len(text) <= 8000


def names_of(client: MlflowClient, published: Publication) -> list[str]:
    return sorted(r.info.run_name for r in by(client, published, "train"))


def test_what_was_published_before_stays_and_is_not_current(made: Made) -> None:
    study, candidate, root = made
    client, others = local(root), ["base/s0", "base/s1", "candidate/s0"]
    first = publish(*made)
    make_run(root / study.cells[0].results, study.variants["base"], 0, provenance__started=1.8e9)
    again = publish(study, candidate, root)
    assert again.new == 1
    (old,) = by(client, again, "train", current="false")
    assert old.info.run_name == "base/s0"
    for retired in (old.data.tags["mlflow.parentRunId"], first.execution):
        assert client.get_run(retired).data.tags["current"] == "false"
    assert [len(by(client, again, role)) for role in ("study", "mean", "train")] == [1, 2, 5]
    publish(make_study(root, SMALL.replace("lrn: false", "lrn: false, dropout: 0")), candidate, root)
    assert names_of(client, again) == others, "a run of other settings than those declared now"
    assert publish(study, candidate, root).execution == again.execution
    assert names_of(client, again) == [*others, "no-lrn/s0", "no-lrn/s1"]
    publish(make_study(root, SMALL.replace("no-lrn:", "without:")), candidate, root)
    assert names_of(client, again) == others, "a variant that is declared no longer"
    assert [run.data.tags["variant"] for run in by(client, again, "mean")] == ["base"]


def test_candidates_of_a_sweep_stand_beside_each_other(made: Made) -> None:
    study, candidate, root = made
    publish(*made)
    flipped = (candidate[0].model_copy(update={"lrn": False}), 0)
    for started in (1.7e9, 1.8e9):
        make_run(root / study.candidate_results, *flipped, provenance__started=started)
        published = publish(study, flipped, root)
        candidates = [name for name in names_of(local(root), published) if name.startswith("candidate")]
        assert candidates == ["candidate lrn=False/s0", "candidate/s0"]


class Killed(BaseException):
    """What a kill does: nothing after it is done, and nobody catches it."""


WRITES = (
    "create_run", "delete_run", "delete_tag", "log_artifact", "log_batch", "log_inputs", "log_text",
    "set_experiment_tag", "set_tag", "set_terminated",
)  # fmt: skip


@contextmanager
def killed_after(writes: int) -> Iterator[list[str]]:
    """Let a client write so often, and no more; the list names its writes."""
    done: list[str] = []

    def wrapped(write: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if len(done) == writes:
                raise Killed
            done.append(write.__name__)
            return write(*args, **more)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in WRITES:
            patch.setattr(MlflowClient, name, wrapped(getattr(MlflowClient, name)))
        yield done


def test_a_publication_that_was_killed_anywhere_is_completed(
    made: Made, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study, candidate, root = made

    def fresh() -> Path:
        """The results beside a store of their own: MLflow keeps a file open that it has seen."""
        return Path(shutil.copytree(root, tmp_path_factory.mktemp("killed") / "root"))

    whole = fresh()
    with killed_after(1000) as writes:
        published = publish(study, candidate, whole)
    want = without_ids(everything(local(whole), published))
    # Around the end of the first run, where it is decided what is complete, and now and then.
    end = writes.index("set_terminated")
    assert len(writes) > 40
    for number in sorted({end, end + 1, end + 2, *range(1, len(writes), 17)}):
        place = fresh()
        with killed_after(number) as done, pytest.raises(Killed):
            publish(study, candidate, place)
        again = publish(study, candidate, place)
        assert without_ids(everything(local(place), again)) == want, f"killed after {done}"


def test_an_interim_study_with_missing_and_diverged_runs_has_no_verdict(made: Made) -> None:
    study, candidate, root = made
    shutil.rmtree(root / study.cells[3].results)
    diverge(root / study.cells[0].results, 2)
    published = publish(study, candidate, root)
    runs, mean = by_name(by(local(root), published, "train")), mean_of(local(root), published)
    statuses = {name: (run.info.status, run.data.metrics["diverged"]) for name, run in runs.items()}
    finished = dict.fromkeys(("base/s1", "no-lrn/s0", "candidate/s0"), ("FINISHED", 0))
    assert statuses == {"base/s0": ("FAILED", 1)} | finished
    assert (mean.info.run_name, mean.data.tags["verdict"]) == ("no-lrn (n = 1)", "none")
    assert "adjusted_p" not in mean.data.metrics
    assert local(root).get_run(published.execution).data.metrics == {"runs": 2, "variants": 1}


def command(root: Path, *words: str, **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "harness", *words], cwd=root, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(ROOT)}, **options,
    )  # fmt: skip


def test_two_processes_on_a_fresh_store_lose_nothing(made: Made) -> None:
    root = made[2]
    (root / "mlflow.db").unlink()
    processes = [command(root, "publish") for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sorted(int(new) for new in re.findall(r"\((\d+) new\)", "".join(outputs))) == [0, 5]
    after = publish(*made)
    assert after.new == 0
    assert [len(by(local(root), after, role)) for role in ("study", "mean", "train")] == [1, 2, 5]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.fixture(scope="module")
def interface(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Path]]:
    """The links that `harness ui` prints while it runs, and its folder; Ctrl-C ends it, and its server with it.

    It is started as a script starts a background job: with Ctrl-C ignored.
    """
    _, _, root = copied(prepared, tmp_path_factory.mktemp("interface"))
    port = free_port()
    process = command(root, "ui", "--port", str(port), preexec_fn=ignore_interrupts)
    links: dict[str, str] = {}
    assert process.stdout
    for line in process.stdout:
        name, _, link = line.partition(":")
        links[name] = link.strip()
        if name == "report":
            break
    try:
        assert {"variants", "chart", "runs", "report"} <= set(links), links
        yield links, root
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server is gone with its command"


def test_a_server_that_is_down_fails_nothing_and_gets_all_later(
    made: Made, interface: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made[2]
    (root / "reports/pair").rename(root / "reports/remote")
    (root / "reports/remote.md").write_text((root / "reports/pair.md").read_text().replace("pair/", "remote/"))
    (root / "mlflow.db").unlink()
    study = make_study(root, SMALL.replace("name: pair", "name: remote"))
    monkeypatch.chdir(root)

    def harness(*words: str, uri: str) -> str:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        result = CliRunner().invoke(app, [*words, study.path.as_posix()], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    down = f"http://user:hunter2@127.0.0.1:{free_port()}"
    with pytest.raises(UserError, match="does not answer") as refused:
        harness("publish", uri=down)
    with monkeypatch.context() as stage:
        stage.setenv("DVC_STAGE", "publish")
        outputs = [str(refused.value), harness("publish", uri=down)]
    assert outputs[1].startswith("warning: not published: ")
    address = interface[0]["variants"].partition("/#/")[0]
    assert address.startswith("http://127.0.0.1:"), "offered to this machine alone"
    login = address.replace("//", "//user:hunter2@")
    outputs.append(harness("publish", uri=login))
    client = MlflowClient(address)
    published = publish(study, made[1], root)
    assert (published.runs, published.new) == (5, 0)
    assert len(by(client, published, "train")) == 5
    assert "report/remote.md" in {a.path for a in client.list_artifacts(published.execution, "report")}
    outputs.append(harness("ui", uri=login))
    assert f"{address}/#/experiments/{published.experiment}/runs" in outputs[-1]
    assert not (root / "mlflow.db").exists(), "nothing goes to another store instead"
    files = (file.read_text(errors="replace") for file in root.rglob("*") if file.is_file())
    with sqlite3.connect(interface[1] / "mlflow.db") as rows:
        stored = "\n".join(rows.iterdump())
    assert "hunter2" not in "".join([*outputs, str(published), *files, stored]), "a password is not shown or stored"


def test_the_interface_shows_the_means_and_the_report(interface: tuple[dict[str, str], Path]) -> None:
    links = interface[0]
    with browser_page() as page:
        page.goto(links["variants"])
        page.wait_for_selector("text=no-lrn (n = 2)")
        text = page.inner_text("body")
        assert all(word in text for word in ("difference", "limit_lower", "limit_upper", "verdict", "candidate/s0"))
        assert "no-lrn/s0" not in text, "single runs are collapsed"
        page.click("[role=row]:has-text('no-lrn (n = 2)') button")
        page.wait_for_selector("text=no-lrn/s0")
        page.goto("about:blank")  # the page keeps its state where the fragment alone changes
        page.goto(links["chart"])
        page.wait_for_selector("text=Difference to the baseline")
        page.goto("about:blank")
        page.goto(links["report"])
        page.frame_locator("iframe").locator("h1", has_text="Two variants").wait_for()


def test_the_interface_listens_on_this_machine_alone(interface: tuple[dict[str, str], Path]) -> None:
    port = int(re.findall(r":(\d+)/", interface[0]["variants"])[0])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    listening = {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert listening == {"0100007F"}, "127.0.0.1, as the system writes it"


def test_a_port_in_use_is_refused(made: Made) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port: {port}"):
            serve(made[0], Publication(""), made[2], port)


@contextmanager
def answering(handler: Any) -> Iterator[str]:
    """The address of a service whose requests go to `handler`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [401, 0])
def test_a_server_that_refuses_or_hangs(made: Made, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            health = self.path == "/health"
            if not status and not health:
                over.wait()
            self.send_response(200 if health else status or 503)
            self.end_headers()

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with answering(Handler) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@{address}")
        with pytest.raises(
            UserError, match="401" if status else f"MLflow at http://{address}: does not ans"
        ) as refused:
            publish(*made)
        over.set()
        assert "secret" not in str(refused.value)


def test_a_service_that_is_no_http_server_does_not_answer(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    class Greeting(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            self.request.recv(4096)  # else the answer is lost with a connection that is reset

    with answering(Greeting) as service:
        for address in (f"http://user:secret@{service}", "https://127.0.0.1:1/a b"):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
            with pytest.raises(UserError, match=f"MLflow at {address.replace('user:secret@', '')}: does not answer"):
                publish(*made)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://user:secret/@host", "not an address"),
        ("sqlite://", "keeps nothing"),
        ("sqlite:///{root}", "unable to open"),
        ("mysql+nodriver://user:secret@host/db", "nodriver"),
        ("nonsense://user:secret@host", "unsupported"),
        ("./mlruns", "maintenance"),
        ("", "not a database"),
        ("", "mlartifacts"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_in_one_line(
    made: Made, uri: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = made[2]
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(root=root))
    elif reason == "mlartifacts":
        (root / "mlartifacts").write_text("no folder")
    else:
        (root / "mlflow.db").write_text("no database" * 100)
    with pytest.raises(UserError, match=reason) as error:
        publish(*made)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_an_experiment_that_was_deleted_is_refused(made: Made) -> None:
    published = publish(*made)
    local(made[2]).delete_experiment(published.experiment)
    with pytest.raises(UserError, match="mlflow experiments restore"):
        publish(*made)
