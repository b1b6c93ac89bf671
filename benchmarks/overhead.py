"""What DVC and the harness cost beside training and evaluation, in CPU seconds.

    python benchmarks/overhead.py            the default study of a clone of this repository, and 1,000 runs
    python benchmarks/overhead.py --flip     also one experiment, whose training and evaluation are subtracted

Of each command the smallest of three measurements is printed, with what it should cost at most. The 1,000 runs are
copies of one committed record: DVC looks at names, sizes and hashes alone.
"""

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
DVC = [sys.executable, "-m", "dvc"]
HARNESS = [sys.executable, "-m", "harness"]
VARIANTS, SEEDS = 50, 20

ITSELF = """
import resource, sys
from dvc.cli import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
print("DVC's own process:", used.ru_utime + used.ru_stime)
sys.exit(code)
"""
"""DVC, that prints the CPU seconds of its own process in the end: without the stages that it runs."""


def cpu(folder: Path, *command: str, times: int = 3) -> tuple[float, str]:
    """CPU seconds of a command and its children, the least of several; and its output."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "PYTHONPATH"))}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    found, output = [], ""
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = done.stdout + done.stderr
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {output}")
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found), output


def show(what: str, seconds: float, limit: float) -> None:
    print(f"{what:<58} {seconds:7.1f} s   at most {limit:g}{'' if seconds <= limit else '   MISSED'}", flush=True)


def thousand(folder: Path) -> None:
    """A project of its own with 1,000 runs on record."""
    for name in ("harness", ".dvc", "experiments/claims.yaml", "dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        source = ROOT / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        else:
            shutil.copy(source, folder / name)
    with (ROOT / "experiments/study.yaml").open() as file:
        study = YAML(typ="safe").load(file)
    base = study["variants"]["base"]
    study["seeds"] = list(range(SEEDS))
    study["limit"] = VARIANTS * SEEDS
    study["variants"] = {"base": base} | {f"lr-{i}": base | {"lr": 0.001 * i} for i in range(1, VARIANTS)}
    study.pop("published"), study.pop("defaults")
    with (folder / "experiments/study.yaml").open("w") as file:
        YAML(typ="safe").dump(study, file)
    reports = folder / "reports" / study["name"]
    shutil.copytree(ROOT / "reports" / study["name"], reports, ignore=shutil.ignore_patterns("runs"))
    shutil.copy(ROOT / "reports" / f"{study['name']}.md", folder / "reports")
    for variant in study["variants"]:
        for seed in range(SEEDS):
            shutil.copytree(ROOT / "reports" / study["name"] / "runs/base-0", reports / "runs" / f"{variant}-{seed}")
    for command in (["git", "init", "-q"], [*HARNESS, "check"], [*DVC, "commit", "-q", "-f", "dvc.yaml"]):
        cpu(folder, *command, times=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flip", action="store_true", help="also measure `dvc exp run --temp -S lrn=false`")
    flip = parser.parse_args().flip
    with tempfile.TemporaryDirectory() as temporary:
        clone = Path(temporary) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        for words, limit in (
            (["repro"], 4),
            (["params", "diff", "HEAD~1"], 5),
            (["metrics", "diff", "HEAD~1"], 5),
            (["exp", "show"], 8),
        ):
            show(f"dvc {' '.join(words)}, 41 runs", cpu(clone, *DVC, *words)[0], limit)
        if flip:
            one_flip(clone)
        many = Path(temporary) / "many"
        many.mkdir()
        thousand(many)
        show("dvc repro, 1,000 runs", cpu(many, *DVC, "repro", times=1)[0], 60)
        show("dvc repro -s dvc.yaml, 1,000 runs", cpu(many, *DVC, "repro", "-s", "dvc.yaml", times=1)[0], 60)


def one_flip(clone: Path) -> None:
    """An experiment in a clone that has its images and is known to MLflow, less the same training and evaluation."""
    cpu(clone, *HARNESS, "data", times=1)
    cpu(clone, *HARNESS, "publish", times=1)
    subprocess.run(["git", "checkout", "-q", "."], cwd=clone, check=True)
    itself = [sys.executable, "-c", ITSELF]
    whole, output = cpu(clone, *itself, "exp", "run", "--temp", "-S", "lrn=false", times=1)
    if len(re.findall("Running stage", output)) != 5:
        raise SystemExit(f"more than the candidate was run:\n{output}")
    settings = clone / "flip.json"
    record = ROOT / "reports/components/runs/no-lrn-0/train/config.json"
    settings.write_text(json.dumps(json.loads(record.read_text())["settings"]))
    (images,) = (clone / "data").glob("fashion-mnist-8k-*")
    own, _ = cpu(
        clone, *HARNESS, "train", str(settings), "--seed", "0", "--out", "once", "--data", str(images), times=1
    )
    tested, _ = cpu(clone, *HARNESS, "eval", "once", "once-eval", "--data", str(images), times=1)
    show("dvc exp run --temp -S lrn=false beside them", whole - own - tested, 15)
    print(f"of that in DVC's own process: {float(re.findall(r'own process: (.*)', output)[0]):.1f} s", flush=True)
    idle, _ = cpu(clone, sys.executable, "-c", "import harness.train.run, harness.evaluate", times=3)
    stages, _ = cpu(clone, *DVC, "repro", "-f", "-s", "train@no-lrn-0", "eval@no-lrn-0", times=1)
    show("a run's two stages beside its training and evaluation", stages - own - tested + 2 * idle, 6)


if __name__ == "__main__":
    main()
