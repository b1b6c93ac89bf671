"""kill -9 in the other stages (packing, report, publication), then the same command again: the same bytes.

And a full disk in packing and in the report.
"""

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability.disk import KIND as FULL
from benchmarks.reliability.disk import PLENTY, Space
from benchmarks.reliability.forks import Board, ended, failure, fork, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import IMAGES
from harness.files import hash_file, write_json
from harness.settings.study import Study
from tests.fake_study import make_results, make_study

KIND = "kill -9 in other stages"

STUDY = """
name: pair
title: Two variants
purpose: A study of two.
data: {source: fashion-mnist-8k}
seeds: [0, 1]
variants:
  base: &base {preset: [paper, small], width: 0.5, colour: 0, epochs: 3}
  no-lrn: {<<: *base, lrn: false}
"""


def contents(folder: Path) -> dict[str, str]:
    """Hashes of every file below a folder, by its path there."""
    return {str(path.relative_to(folder)): hash_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def killed(words: list[str], place: Path, seconds: float) -> bool:
    """Start a command and kill it after so many seconds; False where it was done before."""
    pid = fork(words, place, place / "log")
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def packing(tally: Tally, folder: Path, rng: Random, times: int) -> None:
    """Kill and starve the packing of images."""
    images = IMAGES.model_copy(update={"train_limit": 3000}).model_dump(exclude_defaults=True)
    folder.mkdir()
    study = {"name": "images", "title": "Images", "purpose": "To be packed.", "data": images, "seeds": [0]}
    write_json(folder / "images.json", study | {"variants": {"base": {"preset": ["paper", "small"], "colour": 0}}})
    words = ["data", "images.json", "--out", "packed"]
    _repeat(tally, "packing of images", words, folder, "packed", rng, times)


def reporting(tally: Tally, folder: Path, rng: Random, times: int) -> None:
    """Kill and starve the writing of a report."""
    _study(folder)
    words = ["report", "experiments/study.yaml"]
    _repeat(tally, "writing of a report", words, folder, "reports", rng, times)


def _repeat(tally: Tally, what: str, words: list[str], folder: Path, made: str, rng: Random, times: int) -> None:
    """Kill a command at `times` random moments, and fill the disk as often; every file is whole, then all are there."""
    board, space = Board(), Space()
    begin = time.monotonic()
    space.fill(PLENTY)
    if wait(fork(words, folder, folder / "log", space.limit(board))):
        tally.add(KIND, what, False, "it fails by itself")
        return
    seconds, need = time.monotonic() - begin, PLENTY - space.left
    want = contents(folder / made)
    inputs = _inputs(folder, made)
    for _ in range(times):
        for full in (False, True):
            _restore(folder, made, inputs)
            if full:
                space.fill(rng.randrange(need))
                status = wait(fork(words, folder, folder / "full", space.limit(board)))
                why = failure(folder / "full") if status == 2 else f"exit status {status}"
                (folder / "full").unlink()
            else:
                while not killed(words, folder, rng.random() * seconds):
                    _restore(folder, made, inputs)
                why = ""
            # What is there is whole: no file is another one than it ends as.
            there = {path: value for path, value in contents(folder / made).items() if not path.endswith(".tmp")}
            torn = [path for path, value in there.items() if "/." not in f"/{path}" and want.get(path) != value]
            why = why or (f"{torn[0]} is half written" if torn else "")
            status = wait(fork(words, folder, folder / "log"))
            why = why or (f"then exit status {status}" if status else "")
            after = contents(folder / made)
            why = why or ("the end differs" if after != want else "")
            tally.add(FULL if full else KIND, what, not why, why, note=SAME)


SAME = "no file is half written; the same command then leaves the same bytes, and nothing beside them"


def _inputs(folder: Path, made: str) -> Path:
    """What lies in the command's folder and was there before: records of runs."""
    kept = folder / "kept"
    runs = folder / made / "pair" / "runs"
    if runs.exists():
        shutil.copytree(runs, kept / "pair" / "runs")
    else:
        kept.mkdir()
    return kept


def _restore(folder: Path, made: str, inputs: Path) -> None:
    for left in folder.glob(f".{made}.*"):
        shutil.rmtree(left)
    shutil.rmtree(folder / made, ignore_errors=True)
    if any(inputs.iterdir()):
        shutil.copytree(inputs, folder / made)


def _study(folder: Path) -> Study:
    """A study with results, and the candidate's settings beside it."""
    folder.mkdir()
    study = make_study(folder, STUDY)
    make_results(study, folder)
    (folder / "params.yaml").write_text("{preset: [paper, small], width: 0.5, colour: 0, epochs: 3, seed: 0}\n")
    return study


def publishing(tally: Tally, folder: Path, rng: Random, times: int) -> None:
    """Kill a publication at random moments, from the making of the store to its last tag."""
    _preload()
    _study(folder)
    if wait(fork(["report", "experiments/study.yaml"], folder, folder / "log")):
        raise RuntimeError("the report of the made results fails")
    words = ["publish", "experiments/study.yaml"]
    first = folder / "first"
    shutil.copytree(folder, first, ignore=shutil.ignore_patterns("first"))
    begin = time.monotonic()
    wait(fork(words, first, first / "log"))
    seconds, want, tables = time.monotonic() - begin, shown(first), (first / "mlflow.db").stat().st_size
    for number in range(times):
        place = folder / f"{number}"
        _copy(folder, place)
        what = ("making of MLflow's tables", "publication to MLflow")[number % 2]
        if number % 2:
            # Spread over the whole of it; a second time, as chance has it.
            moment = seconds * (number + rng.random()) / times
            while not killed(words, place, moment):
                # It was done before: from the start again, and killed earlier.
                shutil.rmtree(place)
                _copy(folder, place)
                moment *= 0.8
            died = 1 + killed(words, place, seconds * rng.random())
        else:
            died = _killed_at(words, place, int(tables * (number + rng.random()) / times))
        status = wait(fork(words, place, place / "again"))
        why = f"then exit status {status}: {_last(place / 'again')}" if status else ""
        why = why or ("the store differs" if shown(place) != want else "")
        if died:
            tally.add(KIND, what, not why, why, times=died, note=PUBLISHED)


def _copy(folder: Path, place: Path) -> None:
    """The study and its results, without a store."""
    shutil.copytree(folder, place, ignore=lambda path, names: [n for n in names if n.isdigit() or n == "first"])


def _killed_at(words: list[str], place: Path, size: int) -> int:
    """Start a publication and kill it when its new store has a size in bytes; how often it was killed: 0 or 1."""
    pid = fork(words, place, place / "log")
    while ended(pid) is None:
        if sum(path.stat().st_size for path in place.glob("mlflow.db.new")) >= size:
            os.kill(pid, signal.SIGKILL)
            return int(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL)
        time.sleep(0.0005)
    return 0


def _preload() -> None:
    """Import MLflow, so that a kill falls into what it does with its store, and not into seconds of imports."""
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    from mlflow import MlflowClient  # noqa: F401


PUBLISHED = "published again, the store holds the same runs, once each, with the same tags, metrics and artifacts"


def _last(log: Path) -> str:
    return (log.read_text().strip().splitlines() or [""])[-1][:200]


def shown(root: Path) -> list[Any]:
    """What a store shows, less the ids that it draws: every complete run's name, status, tags, params and metrics."""
    found: list[Any] = _in_child(lambda: _shown(root), root)
    return found


def _in_child(go: Callable[[], Any], place: Path) -> Any:
    import json

    from benchmarks.reliability.forks import fork_call

    out = place / "shown.json"

    def write() -> int:
        out.write_text(json.dumps(go()))
        return 0

    if wait(fork_call(write, place, place / "log")):
        raise RuntimeError(f"the store cannot be read: {_last(place / 'log')}")
    return json.loads(out.read_text())


def _shown(root: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    (experiment,) = client.search_experiments(filter_string="name = 'pair'")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = {run.info.run_id: run.info.run_name for run in runs}
    found = []
    for run in runs:
        # Links in a description have ids, too.
        ids = re.compile("|".join(names))
        tags = {
            key: ids.sub(lambda found: names[found[0]], value)
            for key, value in run.data.tags.items()
            if key != "mlflow.user"
        }
        points = {
            key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        artifacts = sorted(a.path for a in client.list_artifacts(run.info.run_id))
        named = sorted(experiment.tags)
        found.append([run.info.run_name, run.info.status, tags, run.data.params, points, artifacts, named])
    return sorted(found, key=str)
