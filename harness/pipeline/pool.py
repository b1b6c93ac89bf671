"""A study's runs in parallel, each in a process of its own that starts with torch loaded; DVC records what they leave.

The processes run the commands of the pipeline's stages, and the results are those that `dvc repro` would leave, run by
run: DVC has no parallel `repro`, starts for each stage anew, and every stage would import torch.
"""

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from multiprocessing.process import BaseProcess
from pathlib import Path

from harness.errors import UserError
from harness.files import hash_file
from harness.pipeline import worker
from harness.pipeline.dvc import environment, mistake, reason, record, stage_of
from harness.pipeline.dvc_files import CANDIDATE, folders_of, path_of
from harness.progress import progress, say
from harness.record import RunFolder
from harness.settings.load import load_candidate
from harness.settings.study import CANDIDATE as CANDIDATE_FILE
from harness.settings.study import Cell, Study

LOGS = Path(".dvc/tmp/logs")

REUSED = ("restored from the last commit", "is a run that was made before")
"""How a training says that it took the records of an equal run."""

PRELOADED = [worker.__name__]
"""What is imported once, before the processes are copied."""


def chosen(study: Study, only: Sequence[str]) -> list[str]:
    """The runs of some variants, by default of all, in their order; `candidate` is the one beside the default study.

    Raises `UserError` for a variant that the study does not declare.
    """
    variants = {cell.key: cell.variant for cell in study.cells} | ({CANDIDATE: CANDIDATE} if study.is_default else {})
    for name in only:
        if name not in variants.values():
            known = ", ".join(dict.fromkeys(variants.values()))
            raise UserError(f"run: --only: got {name!r}; allowed: {known}, with commas between them")
    return seed_by_seed([key for key, variant in variants.items() if not only or variant in only], study)


def seed_by_seed(cells: Iterable[str], study: Study) -> list[str]:
    """Cells in the order in which they are to run: all variants of the study's first seed, then of the next.

    A machine that becomes slower then slows the variants alike, and whole seeds are complete for a look. The candidate
    comes last.
    """
    order = [Cell(study.name, variant, seed).key for seed in study.seeds for variant in study.variants]
    return sorted(cells, key=[*order, CANDIDATE].index)


def workers(jobs: int | None, gpus: str) -> tuple[int, list[str]]:
    """Cells at once, and the GPUs that are shared out among them, from `-j` and `--gpus`: a GPU each by default.

    Raises `UserError` for more cells than GPUs.
    """
    named = [gpu.strip() for gpu in gpus.split(",")] if gpus else []
    if not all(named):
        raise UserError(f"run: --gpus: got {gpus!r}; allowed: GPUs with commas between them, as 0,1")
    count = jobs or len(named) or 1
    if named and count > len(named):
        raise UserError(f"run: -j: got {count}, but --gpus names {len(named)}; allowed: at most one cell a GPU")
    return count, named


@dataclass
class Running:
    """A run that a process is making. `before`: which results of its stages were there when it began."""

    task: worker.Task
    process: BaseProcess
    inputs: dict[Path, str]
    before: dict[str, tuple[int, int] | None]
    begin: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def stop(self) -> None:
        """Tell it, once, to save its state and leave."""
        if not self.stopped and self.process.pid is not None and self.process.exitcode is None:
            self.stopped = True
            os.kill(self.process.pid, signal.SIGTERM)

    def finished(self) -> list[str]:
        """Its stages that left new results, up to the first that did not: stopped early, it leaves the older ones."""
        now = _results(self.task.place)
        new = [kind for kind, result in now.items() if result and result != self.before[kind]]
        return [stage for _, stage in takewhile(lambda one: one[0] in new, self.task.stages.items())]

    def end(self, stopping: bool) -> str:
        """How it ended, in a word; a failure is said with its reason."""
        cell, log = self.task.cell, self.task.log
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        if not self.process.exitcode:
            return "reused" if any(words in text for words in REUSED) else "ran"
        if stopping:
            say(f"stopped {cell}")
            return "stopped"
        # The harness says in one line what is wrong; without one, the log has to tell.
        why = mistake(text)
        if not why and self.process.exitcode < 0:
            why = f"its process was ended by {signal.Signals(-self.process.exitcode).name}"
        say(f"FAILED {cell}: {why}{'; ' if why else ''}see {log}")
        return "FAILED"


class Pool:
    """Runs of a study, some at once, and what DVC records of them."""

    def __init__(self, study: Study) -> None:
        self.study, self.pipeline = study, path_of(study)
        self.places, self.variants = folders_of(study), {cell.key: cell.variant for cell in study.cells}
        self.bits = study.variants[study.baseline].bits
        self.done: list[Running] = []
        self.recorder: subprocess.Popen[str] | None = None
        # Its children are copies of one process, which has loaded torch by the variables that it was started with.
        self.server = multiprocessing.get_context("forkserver")
        self.server.set_forkserver_preload(PRELOADED)

    def start(self, cell: str, kinds: Sequence[str], gpu: str | None) -> Running:
        """Start a process on the stages of a run."""
        spec = CANDIDATE_FILE.as_posix() if cell == CANDIDATE else cell
        spec = spec if self.study.is_default else f"{self.study.name}:{cell}"
        stages = {kind: stage_of(kind, cell, self.pipeline) for kind in kinds}
        task = worker.Task(Path.cwd(), cell, spec, stages, self.places[cell], log_of(cell, self.pipeline), gpu)
        own = load_candidate(CANDIDATE_FILE)[0] if cell == CANDIDATE else self.study.variants[self.variants[cell]]
        context = self.server if own.bits == self.bits else multiprocessing.get_context("spawn")
        process = context.Process(target=worker.work, args=(task,))
        task.log.parent.mkdir(parents=True, exist_ok=True)
        # What the stages read beside the images: when it changes, DVC must not record them as run.
        files = [self.study.checked, self.study.manifest, *([CANDIDATE_FILE] if cell == CANDIDATE else [])]
        inputs = {path: hash_file(path) for path in files if path.exists()}
        before = _results(task.place)
        with _environment(**{worker.BITS: own.bits}):
            process.start()
        return Running(task, process, inputs, before)

    def record(self, wait: bool = False) -> None:
        """Have DVC record the runs that are done: those of one call together, since each has to start DVC."""
        while self.recorder or self.done:
            if self.recorder and not wait and self.recorder.poll() is None:
                return
            if self.recorder:
                output = self.recorder.communicate()[0]
                if self.recorder.returncode:
                    raise UserError(reason(output) or f"dvc commit: failed with status {self.recorder.returncode}")
                self.recorder = None
            changed = [one for one in self.done if any(hash_file(path) != old for path, old in one.inputs.items())]
            for one in changed:
                say(f"{one.task.cell}: not recorded: what it depends on changed while it ran; it will run again")
            stages = [stage for one in self.done if one not in changed for stage in one.finished()]
            self.done = []
            if stages:
                self.recorder = record(stages)
            if not wait:
                return


def run_cells(study: Study, cells: Mapping[str, Sequence[str]], jobs: int, gpus: Sequence[str]) -> list[str]:
    """Run the stages of `cells`, `jobs` runs at once, each with one of `gpus` (CUDA_VISIBLE_DEVICES) if some are given.

    Returns the runs that failed: the others are finished all the same. Raises `KeyboardInterrupt` after SIGINT or
    SIGTERM, once every trainer has saved its state and left, and DVC has recorded what was finished.
    """
    pool = Pool(study)
    free: list[str | None] = [*gpus[:jobs]] or [None] * jobs
    todo, running, failed = seed_by_seed(cells, study), list[Running](), list[str]()
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress(len(cells), "runs", "runs") as advance:
            while running or (todo and not stopping.is_set()):
                while todo and free and not stopping.is_set():
                    running.append(pool.start(todo[0], cells[todo.pop(0)], free.pop(0)))
                time.sleep(0.05)
                if stopping.is_set():
                    for one in running:
                        one.stop()
                for one in [one for one in running if one.process.exitcode is not None]:
                    running.remove(one)
                    free.append(one.task.gpu)
                    how = one.end(stopping.is_set())
                    pool.done.append(one)
                    if how == "FAILED":
                        failed.append(one.task.cell)
                    if how != "stopped":
                        advance(1, f"{how} {one.task.cell} in {time.monotonic() - one.begin:.0f} s")
                pool.record()
        pool.record(wait=True)
    finally:
        for one in running:  # something else went wrong
            one.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping.is_set():
        raise KeyboardInterrupt
    return failed


def _results(place: Path) -> dict[str, tuple[int, int] | None]:
    """Which results of a run's stages are there: each is a file of its own, and has its own time."""
    files = RunFolder.of(place)
    results = {"train": files.provenance, "eval": files.metrics}
    stats = {kind: path.stat() if path.exists() else None for kind, path in results.items()}
    return {kind: (stat.st_ino, stat.st_mtime_ns) if stat else None for kind, stat in stats.items()}


@contextmanager
def _environment(**more: str) -> Iterator[None]:
    """The environment in which a process is started: the user's own, with some variables more."""
    kept, users = dict(os.environ), environment()
    os.environ.clear()
    os.environ.update(users | more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def log_of(cell: str, pipeline: Path) -> Path:
    return LOGS / pipeline.parent.name / f"{cell}.log"
