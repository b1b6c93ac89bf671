"""Every variant trained and evaluated in a new interpreter: `python -m benchmarks.reliability.condition FILE`.

FILE is JSON: `images`, `out` (a folder), `abreast` (runs at once), `mapped` (images are read from their file, batch by
batch), and `runs` of name and settings file. Each run leaves its folder and its results below `out`.
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.reliability.forks import abreast, evaluation, fork, preload, training


def _map_images() -> None:
    import harness.data.batches

    harness.data.batches.IN_MEMORY = 0


def _strict() -> None:
    """Fail where an operator was allowed that torch knows to have no deterministic form."""
    import torch

    import harness.weights

    save = vars(harness.weights)["save"]

    def checked(*arguments: Any) -> Any:
        if not torch.are_deterministic_algorithms_enabled() or torch.is_deterministic_algorithms_warn_only_enabled():
            raise AssertionError("the run was not made under deterministic algorithms")
        return save(*arguments)

    vars(harness.weights)["save"] = checked


def main() -> int:
    """Make every run; the exit status is the number of those that failed."""
    job = json.loads(Path(sys.argv[1]).read_text())
    out, images, failed = Path(job["out"]), Path(job["images"]), 0
    before: list[Callable[[], None]] = [_strict, *([_map_images] if job["mapped"] else [])]
    preload()
    for stage in (0, 1):

        def start(name: str, settings: str, stage: int = stage) -> int:
            run = f"made/{name}"
            words = (training(Path(settings), images, run, 1e9), evaluation(images, run, f"results/{name}"))[stage]
            return fork(words, out, out / f"{name.replace('/', '-')}.log", *before)

        failed += sum(map(bool, abreast((partial(start, *run) for run in job["runs"]), job["abreast"])))
    return failed


if __name__ == "__main__":
    sys.exit(main())
