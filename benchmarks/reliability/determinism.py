"""The same variant, settings and seed under other circumstances: every stream, weight and prediction is the same."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import ROOT, differing, results_proof, run_proof, write_settings
from harness.files import write_json
from harness.settings.schema import Settings

KIND = "determinism"


@dataclass(frozen=True)
class Circumstances:
    """How the runs of a process are made: all of it may differ, and no bit of a run does."""

    what: str
    hash_seed: str = "0"
    folder: str = "plain"
    workers: int = 0
    abreast: int = 1
    mapped: bool = False


REFERENCE = Circumstances("again in a process of its own")
OTHERS = (
    REFERENCE,
    Circumstances("another hash seed and working folder", "4711", "another folder/with spaces, ü and 'quotes'"),
    Circumstances("3 loader workers", "1", "workers", workers=3),
    Circumstances("beside another run", "2", "beside", abreast=2),
    Circumstances("images read from their file batch by batch, 1 worker", "3", "mapped", workers=1, mapped=True),
)
ALL_AT_ONCE = Circumstances(
    "another hash seed and working folder, 3 loader workers, beside another run", "4711", "another folder/ü", 3, 2
)
"""The sample's: one interpreter, in which all of it is different."""


def make_runs(
    circumstances: Circumstances, variants: dict[str, Settings], images: Path, folder: Path
) -> dict[str, dict[str, str]]:
    """Train and evaluate every variant in a new interpreter. Returns each one's proof; one that failed has none."""
    out = folder / circumstances.folder
    out.mkdir(parents=True)
    runs = [
        (
            name,
            str(write_settings(out / "settings", name, settings.model_copy(update={"workers": circumstances.workers}))),
        )
        for name, settings in variants.items()
    ]
    job = {"images": str(images), "out": str(out), "abreast": circumstances.abreast, "mapped": circumstances.mapped}
    write_json(out / "job.json", job | {"runs": runs})
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONHASHSEED": circumstances.hash_seed, "PYTHONPATH": path}
    command = [sys.executable, "-m", "benchmarks.reliability.condition", str(out / "job.json")]
    subprocess.run(command, cwd=out, env=environment, check=False)
    return {name: proof(out, name) for name in variants}


def proof(out: Path, name: str) -> dict[str, str]:
    """What a run and its results are; empty where they are not there."""
    try:
        return run_proof(out / "made" / name) | results_proof(out / "results" / name)
    except (OSError, KeyError, ValueError):
        return {}


def determinism(
    tally: Tally,
    variants: dict[str, Settings],
    images: Path,
    folder: Path,
    others: tuple[Circumstances, ...],
    jobs: int,
) -> dict[str, dict[str, str]]:
    """Make every variant once, and again under each of `others`; returns the first one's proofs.

    `jobs`: runs at once where the circumstances ask for no more.
    """
    first = make_runs(Circumstances("", folder="first", abreast=jobs), variants, images, folder)
    for circumstances in (replace(given, abreast=max(given.abreast, jobs)) for given in others):
        again = make_runs(circumstances, variants, images, folder / "again")
        for name in variants:
            apart = differing(first[name], again[name]) if first[name] else ["the run failed"]
            tally.add(KIND, circumstances.what, not apart, f"{name}: {', '.join(apart)}", note=STREAMS_NOTE)
    for name, made in first.items():
        tally.add(KIND, "no warn-only: every operator is allowed", bool(made), f"{name}: refused", note=STRICT_NOTE)
    return first


STREAMS_NOTE = (
    "equal hashes of initial weights, batch order, augmentation stream, losses, final weights, and of every file of "
    "losses, weights, predictions and errors"
)
STRICT_NOTE = "trained with torch.use_deterministic_algorithms(True); torch raises for an operator that is not"
