"""Cells in parallel. DVC stays the source of truth: each cell is run and recorded by its own `dvc repro -s CELL`.

This module decides only what runs when, and on which GPU; a plain `dvc repro` afterwards finds the cells up to date.
DVC itself has no parallel `repro`; `--wait-for-lock` and `-s` are what keeps several of them from failing on its locks.
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from harness.commits import git
from harness.errors import UserError
from harness.grammar import counted
from harness.pipeline.dvc_files import CANDIDATE, ROOT, folders_of, path_of
from harness.process import ambient
from harness.progress import clock, progress, say
from harness.record import RunFolder
from harness.settings.study import Cell, Study

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
LOGS = Path(".dvc/tmp/logs")

ASKED, ASKED_RUN = 1.0, 0.015
"""Seconds that DVC takes to say what is up to date, and for each run beside (100 runs, a machine that is in use)."""

REUSED = re.compile(r"restored from the last commit|is a run that was made before")
"""How a training says that it took the records of an equal run."""

TO_RUN = re.compile(r"^Running stage '(?:[^']+:)?(?:train|eval)[@-]([^']+)'", re.MULTILINE)
"""How `dvc repro --dry` names a run's stage: `train@no-lrn-0` is of `no-lrn-0`, `eval-candidate` of `candidate`."""

HINT = re.compile(r"$|To (track the changes|enable auto staging)|\t(git add|dvc config core\.autostage)|Use `dvc push`")
"""Lines that are empty, and in which DVC advises what to do next: a command's own last lines say it whole."""


def address(stage: str, pipeline: Path = ROOT) -> str:
    """A stage as DVC's commands name it: by itself in the root's pipeline, else with its file."""
    return stage if pipeline == ROOT else f"{pipeline.as_posix()}:{stage}"


def _environment(gpu: str | None = None) -> dict[str, str]:
    # The stages call `python`: this interpreter's environment comes first, whether it is activated or not.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**ambient(), "PATH": path, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}


def dvc(*arguments: str, show: bool = False) -> str:
    """Run a DVC command, waiting for its lock; returns what it printed, which `show` prints, too, less its hints.

    Raises `UserError` with the reason when it fails.
    """
    text = ""
    with subprocess.Popen(
        [*DVC, *arguments], text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=_environment(),
    ) as process:  # fmt: skip
        for line in process.stdout or ():
            text += line
            if show and not HINT.match(line):
                say(line.rstrip())
    if process.returncode:
        raise UserError(reason(text) or f"dvc {' '.join(arguments)}: failed with status {process.returncode}")
    return text


def reason(text: str) -> str:
    """Why DVC failed, by its output: the mistake that the harness named, else its own error or last line; or ''."""
    for start, name in (("harness: ", ""), ("ERROR: ", "dvc: "), ("", "dvc: ")):
        if said := re.findall(rf"^{start}(.*\S)", text, re.MULTILINE):
            return f"{name}{said[-1]}"
    return ""


def need_repository() -> None:
    """Refuse a folder in which no DVC command works, as an archive of the source. Raises `UserError`."""
    here = Path.cwd()
    if not Path(".dvc").is_dir():
        raise UserError(f"{here}: has no .dvc; run: git init && dvc init, or, to do without git: dvc init --no-scm")
    if any((folder / ".git").exists() for folder in (here, *here.parents)):
        return
    from dvc.config import Config, ConfigError

    try:
        needs_git = not Config.from_cwd()["core"].get("no_scm")
    except ConfigError as error:
        raise UserError(f"dvc: {error}; see: dvc config --list --show-origin") from error
    if needs_git:
        raise UserError(f"{here}: no git repository; run: git init, or, to do without git: dvc config core.no_scm true")


def need_history() -> None:
    """Refuse an experiment in a copy of a shallow clone: DVC would lose it without a word. Raises `UserError`."""
    root = Path(os.environ.get("DVC_ROOT") or ".").resolve()
    if root != Path.cwd() and git(root, "rev-parse", "--is-shallow-repository") == "true\n":
        raise UserError(f"{root}: is a shallow clone, in which DVC loses experiments; run: git fetch --unshallow")


def repro(pipeline: Path, stages: Sequence[str] = (), *options: str, show: bool = True) -> str:
    """Run stages of a pipeline, by default all, in the order of the file.

    With -s DVC takes the stages as they stand, and reads no other study's pipeline: the files list them in their order.
    """
    targets = [address(stage, pipeline) for stage in stages] or [pipeline.as_posix()]
    return dvc("repro", "-s", *options, *targets, show=show)


def waiting(study: Study) -> list[str]:
    """The study's runs that are not up to date, in DVC's eyes, in the order in which they are to run.

    `dvc status` would read every study's pipeline. Evaluations are asked about once every training has left its
    records: DVC fails on one whose run is not there yet, so that this is to be called again when these are done.
    """
    runs = folders_of(study)
    done = all(RunFolder.of(place).training.is_dir() for place in runs.values())
    kinds, output = ("train", "eval") if done else ("train",), ""
    seconds = len(kinds) * (ASKED + ASKED_RUN * len(runs))
    say(f"run: asking DVC what is up to date ({counted(len(runs), 'run')}, about {clock(seconds)})")
    for kind in kinds:
        stages = [kind, f"{kind}-{CANDIDATE}"] if study.is_default else [kind]
        output += repro(path_of(study), stages, "--dry", show=False)
    return seed_by_seed(set(TO_RUN.findall(output)), study)


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


class Running:
    """A cell that DVC runs, on one of the GPUs where some are shared out."""

    def __init__(self, cell: str, gpu: str | None, pipeline: Path, force: bool) -> None:
        self.cell, self.gpu, self.log = cell, gpu, log_of(cell, pipeline)
        self.begin, self.stopped = time.monotonic(), set[int]()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        mark = "-" if cell == CANDIDATE else "@"
        stages = [address(f"{kind}{mark}{cell}", pipeline) for kind in ("train", "eval")]
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [*DVC, "repro", *(["-f"] if force else []), "-s", *stages],
                env=_environment(gpu), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    def stop_trainer(self) -> None:
        """Tell the harness below DVC to save and leave, once each process; DVC itself goes on and keeps its record."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                if child.pid not in self.stopped and "harness" in child.cmdline():
                    self.stopped.add(child.pid)
                    child.send_signal(signal.SIGTERM)

    def end(self, stopping: bool) -> str:
        """How it ended, in a word; a failure is said with its reason."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if not self.process.returncode:
            return "reused" if REUSED.search(text) else "ran"
        if stopping:
            say(f"stopped {self.cell}")
            return "stopped"
        why = reason(text)
        say(f"FAILED {self.cell}: {why}{'; ' if why else ''}see {self.log}")
        return "FAILED"


def run_cells(
    cells: Sequence[str], jobs: int, gpus: Sequence[str], pipeline: Path = ROOT, force: bool = False
) -> list[str]:
    """Run `cells` on `jobs` workers, each with one of `gpus` (CUDA_VISIBLE_DEVICES) where some are given.

    `force`: also those that are up to date. Returns the runs that failed: the others are finished all the same. Raises
    `KeyboardInterrupt` after SIGINT or SIGTERM, once every trainer has saved its state and left, and DVC has written
    its record.
    """
    free: list[str | None] = [*gpus[:jobs]] or [None] * jobs
    todo, running, failed = list(cells), list[Running](), list[str]()
    stopping = threading.Event()
    before = {number: signal.signal(number, lambda *_: stopping.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with progress(len(cells), "runs", "runs") as advance:
            while running or (todo and not stopping.is_set()):
                while todo and free and not stopping.is_set():
                    running.append(Running(todo.pop(0), free.pop(0), pipeline, force))
                time.sleep(0.1)
                if stopping.is_set():
                    for one in running:
                        one.stop_trainer()
                for one in [one for one in running if one.process.poll() is not None]:
                    running.remove(one)
                    free.append(one.gpu)
                    how = one.end(stopping.is_set())
                    if how == "FAILED":
                        failed.append(one.cell)
                    if how != "stopped":
                        advance(1, f"{how} {one.cell} in {time.monotonic() - one.begin:.0f} s")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopping.is_set():
        raise KeyboardInterrupt
    return failed


def log_of(cell: str, pipeline: Path = ROOT) -> Path:
    return LOGS / pipeline.parent.name / f"{cell}.log"
