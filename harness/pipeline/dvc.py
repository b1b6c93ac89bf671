"""DVC's commands: what it runs, what it holds to be up to date, and what it records."""

import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from harness.commits import git
from harness.errors import UserError
from harness.grammar import counted
from harness.pipeline.dvc_files import CANDIDATE, ROOT, folders_of, path_of
from harness.process import ambient
from harness.progress import clock, say
from harness.record import RunFolder
from harness.settings.study import Study

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")

ASKED, ASKED_RUN = 1.0, 0.015
"""Seconds that DVC takes to say what is up to date, and for each run beside (100 runs, a machine that is in use)."""

TO_RUN = re.compile(r"^Running stage '(?:[^']+:)?(train|eval)[@-]([^']+)'", re.MULTILINE)
"""How `dvc repro --dry` names a run's stage: `train@no-lrn-0` is of `no-lrn-0`, `eval-candidate` of `candidate`."""

HINT = re.compile(r"$|To (track the changes|enable auto staging)|\t(git add|dvc config core\.autostage)|Use `dvc push`")
"""Lines that are empty, and in which DVC advises what to do next: a command's own last lines say it whole."""

KINDS = ("train", "eval")
"""The stages of a run, in their order."""

AFTER_RUNS = ("ensemble", "gallery", "report", "publish")
"""The stages that follow all runs, in their order."""


def address(stage: str, pipeline: Path = ROOT) -> str:
    """A stage as DVC's commands name it: by itself in the root's pipeline, else with its file."""
    return stage if pipeline == ROOT else f"{pipeline.as_posix()}:{stage}"


def stage_of(kind: str, cell: str, pipeline: Path = ROOT) -> str:
    """The stage that trains or evaluates a run, as DVC's commands name it."""
    return address(f"{kind}{'-' if cell == CANDIDATE else '@'}{cell}", pipeline)


def environment() -> dict[str, str]:
    """That of the user, in which the `python` of the stages is this interpreter, its environment activated or not."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**ambient(), "PATH": path}


def dvc(*arguments: str, show: bool = False) -> str:
    """Run a DVC command, waiting for its lock; returns what it printed, which `show` prints, too, less its hints.

    Raises `UserError` with the reason when it fails.
    """
    text = ""
    with subprocess.Popen(
        [*DVC, *arguments], text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env=environment(),
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
    own = _last("ERROR: ", text) or _last("", text)
    return mistake(text) or (own and f"dvc: {own}")


def mistake(text: str) -> str:
    """The last mistake of its user's that the harness named in an output; ''."""
    return _last("harness: ", text)


def _last(start: str, text: str) -> str:
    lines = re.findall(rf"^{start}(.*\S)", text, re.MULTILINE)
    return lines[-1] if lines else ""


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


def waiting(study: Study, among: Collection[str] | None = None) -> dict[str, tuple[str, ...]]:
    """The study's runs, or those `among` them, that are not up to date in DVC's eyes, with the stages that each needs.

    A run that is trained is evaluated after it. `dvc status` would read every study's pipeline. Evaluations are asked
    about once every training has left its records: DVC fails on one whose run is not there yet, so that this is to be
    called again when these are done.
    """
    runs = folders_of(study)
    done = all(RunFolder.of(place).training.is_dir() for place in runs.values())
    kinds, output = KINDS if done else KINDS[:1], ""
    seconds = len(kinds) * (ASKED + ASKED_RUN * len(runs))
    say(f"run: asking DVC what is up to date ({counted(len(runs), 'run')}, about {clock(seconds)})")
    for kind in kinds:
        stages = [kind, f"{kind}-{CANDIDATE}"] if study.is_default else [kind]
        output += repro(path_of(study), stages, "--dry", show=False)
    stale = {(cell, kind) for kind, cell in TO_RUN.findall(output)}
    cells = {cell for cell, _ in stale if among is None or cell in among}
    return {cell: KINDS if (cell, "train") in stale else KINDS[1:] for cell in cells}


def record(stages: Iterable[str]) -> subprocess.Popen[str]:
    """Start DVC writing stages that have been run into its lock file, as they and what they depend on stand now."""
    return subprocess.Popen(
        [*DVC, "commit", "-q", "-f", *stages], text=True, env=environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
