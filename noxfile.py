"""`nox -s study` sets up and runs the default study, `nox -s tests` sets up and passes the tests.

Every session uses the one environment that nox itself runs in (PyTorch is large), so make one first:

    python3 -m venv .venv && .venv/bin/pip install nox && .venv/bin/nox -s study
"""

import os
import shutil
import sys
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
nox.options.default_venv_backend = "none"

BIN = Path(sys.executable).parent
# DVC's stages call `python`, which is to be this environment's, whether it is activated or not.
ENVIRONMENT = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
# The committed reports are of a processor with AVX2; one with wider instructions adds up in another order.
AS_COMMITTED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
# Files that train many nets, simulate many studies or call many commands: `nox -s quick` leaves them out.
LONG = (
    "as_run", "bad_input", "calibration", "evaluate", "factors", "features", "folders", "fuzz", "gallery", "identity",
    "mutations", "noise", "outcome", "proof", "reliability", "report", "sequential", "statistics_study", "store",
    "training", "trust", "weights",
)  # fmt: skip
JOBS = str(min(os.cpu_count() or 1, 8))
SPREAD = ["-n", JOBS, "--dist", "loadfile", "--no-loadscope-reorder"]


def run(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    """Run a module of this environment, with more variables where some are given."""
    session.run(sys.executable, "-m", *command, env=ENVIRONMENT | (env or {}))


def install(session: nox.Session, extras: str = "dev") -> None:
    """Install the project with the pinned versions; a second time costs seconds."""
    words = ["--quiet", "--disable-pip-version-check", "-c", "constraints.txt", "-e", f".[{extras}]"]
    run(session, "pip", "install", *words)


@nox.session
def setup(session: nox.Session) -> None:
    """Install the project and what its tests need, and no more."""
    install(session)


@nox.session
def study(session: nox.Session) -> None:
    """Run the default study to its report: every run, also those on record; options go to `harness run`."""
    install(session)
    run(session, "harness", "run", *(session.posargs or ["--force", "-j", JOBS]))


@nox.session
def tests(session: nox.Session) -> None:
    """Style, types, layers and tests; options go to pytest (as: nox -s tests -- -k lrn)."""
    install(session)
    lint(session)
    run(session, "pytest", *(session.posargs or ["-m", "not nightly", *SPREAD]))


@nox.session
def nightly(session: nox.Session) -> None:
    """The tests of a minute or more that `tests` leaves out: pools, queues, weights by DVC, trials of failure."""
    install(session)
    run(session, "pytest", "-m", "nightly", *SPREAD, *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """The tests that take about a minute, without lint; options go to pytest."""
    install(session)
    left = [f"--ignore=tests/test_{name}.py" for name in LONG]
    run(session, "pytest", "-m", "not slow", *left, "-n", JOBS, "--dist", "loadfile", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into build/site; links are checked. `nox -s docs -- serve` shows it while you write."""
    install(session, "dev,docs")
    run(session, "mkdocs", *(session.posargs or ["build", "--strict"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and layers alone."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
    session.run(str(BIN / "lint-imports"), env=ENVIRONMENT)


@nox.session
def reliability(session: nox.Session) -> None:
    """Kills, full disks, other circumstances and bad input at full size; writes reports/reliability.md and .csv."""
    install(session)
    run(session, "benchmarks.reliability", *session.posargs)


@nox.session
def calibration(session: nox.Session) -> None:
    """Simulate how often the report's tests err and what they find; writes reports/calibration.md and its tables."""
    install(session)
    run(session, "benchmarks.calibration", *session.posargs)


@nox.session
def reports(session: nox.Session) -> None:
    """Bring every committed report up to date with the present code; what needs weights trains them where missing."""
    install(session)
    for lock in [Path("dvc.lock"), *sorted(Path("experiments").glob("*/dvc.lock"))]:
        if lock.parent != Path("."):
            shutil.copy("experiments/pipeline.yaml", lock.with_suffix(".yaml"))
        run(session, "dvc", "repro", "-s", str(lock.with_suffix(".yaml")), env=AS_COMMITTED)


@nox.session
def overhead(session: nox.Session) -> None:
    """What DVC and the harness cost beside training and evaluation: 41 and 1,000 runs, and one experiment."""
    install(session)
    session.run(sys.executable, "benchmarks/overhead.py", *(session.posargs or ["--flip"]), env=ENVIRONMENT)
