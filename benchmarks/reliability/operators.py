"""Every operator that a run computes with, recorded, and why it is deterministic on CUDA.

torch raises for an operator that it knows to be not (`torch.use_deterministic_algorithms`); its documentation lists
those, and those that it then computes by another algorithm. The rest is named here, one by one: a new operator has to
be looked at before it is trusted.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.reliability.forks import abreast, fork_call
from benchmarks.reliability.table import REASONS, reason
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import ROOT
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.record import RunFolder, read_run
from harness.settings.load import load_study
from harness.settings.parse import parse
from harness.settings.schema import DataSettings, Settings
from tests.own_studies import OWN

KIND = "operators"

SMALL: dict[str, Any] = {
    "width": 0.25, "fc_width": 16, "local_width": 32, "epochs": 1, "batch": 8, "curve_images": 8, "crop_chunk": 1,
    "classes": None, "workers": 0, "pretrained": "", "lr": 0.001, "bias_lr": 1.0, "momentum": 0.9,
    "drop_factor": 0.1, "drops": [0.5], "patience": 5, "conv1_slow": 1.0, "conv1_freeze": 1.0, "colour_until": 1.0,
}  # fmt: skip
"""What makes a run of any study short and like others: numbers of kernels and images, and rates, change no operator."""


def studies(device: str) -> dict[str, Settings]:
    """One variant for each set of settings that any of the repository's studies has, made short, on `device`."""
    found: dict[str, Settings] = {}
    for path in (ROOT / "experiments" / name / "study.yaml" for name in (*OWN, "")):
        study = load_study(path)
        for name, settings in study.variants.items():
            values = settings.model_dump()
            given = {key: value for key, value in (SMALL | {"device": device}).items() if key in values}
            small = parse(Settings, values | _allowed(values, given), f"{path}: {name}")
            if small not in found.values():
                found[f"{study.name}/{name}"] = small
    return found


def _allowed(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Nets of their own keep what they leave no choice in."""
    kept = set()
    if values["net"].startswith("cifar"):
        kept |= {"fc_width", "width"}
    if values["net"] != "cifar_local":
        kept |= {"local_width"}
    return {key: value for key, value in given.items() if key not in kept}


def record(settings: Settings, images: Path, folder: Path) -> list[str]:
    """Operators of one run: training with its validation and, for small images, evaluation."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from harness.evaluate import evaluate
    from harness.train.run import train

    seen: set[str] = set()
    packed = Packed.open(images)

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.add(str(func))
            return func(*args, **(kwargs or {}))

    with Recorder():  # type: ignore[no-untyped-call]
        train(settings, 0, packed, folder / "run", 1e9, "operators")
        if settings.geometry == "small":  # it is the same for all, and ten crops of large images take long
            evaluate(read_run(RunFolder(folder / "run", folder / "results")), "run", packed, folder / "results")
    return sorted(seen)


def operators(tally: Tally, folder: Path, sample: bool, device: str, jobs: int) -> dict[str, str]:
    """Run every variant of every study once, `jobs` at once; returns each operator that was seen and its reason."""
    folder.mkdir()
    seen: set[str] = set()
    chosen = studies(device)
    if sample:
        chosen = {name: s for name, s in chosen.items() if name in ("components/base", "cifar10/base")}
    images: dict[int, Path] = {}
    sizes = {"small": 32, "medium": 128, "imagenet": 256}
    for geometry in {settings.geometry for settings in chosen.values()}:
        size = sizes[geometry]
        images[size] = folder / f"images-{size}"
        pack(DataSettings(source="synthetic", size=size, train_limit=40, validation=0.5, test_limit=10), images[size])

    def start(settings: Settings, place: Path) -> int:
        place.mkdir()

        def go() -> int:
            (place / "seen.json").write_text(json.dumps(record(settings, images[sizes[settings.geometry]], place)))
            return 0

        return fork_call(go, place, place / "log")

    places = {name: folder / str(number) for number, name in enumerate(chosen)}
    statuses = abreast((partial(start, chosen[name], place) for name, place in places.items()), jobs)
    for (name, place), status in zip(places.items(), statuses, strict=True):
        last = (place / "log").read_text().strip().splitlines()[-1:]
        tally.add(KIND, "a variant of any study runs with no warn-only", not status, f"{name}: {last}")
        if not status:
            seen |= set(json.loads((place / "seen.json").read_text()))
    for operator in sorted(seen):
        tally.add(KIND, "an operator has its reason", bool(reason(operator)), f"{operator}: look whether it is "
                  "deterministic on CUDA, and add it to benchmarks/reliability/table.py")  # fmt: skip
    if not sample and device == "cpu":
        for operator in sorted(set(REASONS) - {op.removesuffix(".default") for op in seen}):
            tally.add(KIND, "an operator has its reason", False, f"{operator}: no variant uses it; take it out")
    return {operator: reason(operator) for operator in sorted(seen)}
