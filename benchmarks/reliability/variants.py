"""The declared variants, cut down to a second each, and the images that they are trained on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from harness.data.pack import pack
from harness.files import hash_file, write_json
from harness.record import Provenance, RunFolder
from harness.settings.load import load_study
from harness.settings.parse import parse
from harness.settings.schema import DataSettings, Settings
from harness.weights import FILE, name_of

ROOT = Path(__file__).parent.parent.parent
STUDIES = ("experiments/study.yaml", "experiments/claims-small/study.yaml")
IMAGES = DataSettings(source="fashion-mnist-8k", train_limit=140, test_limit=20)
"""Some of the images in the repository."""

SHORTER = 8
"""Epochs are divided by this; everything else of a variant but its batch is as declared."""

BATCH = 32

SAMPLE = ("base", "no-dropout")


def declared(sample: bool = False, device: str = "cpu") -> dict[str, Settings]:
    """Variants of the studies by name, each once, cut down, on `device`."""
    found: dict[str, Settings] = {}
    for path in STUDIES:
        study = load_study(ROOT / path)
        for name, settings in study.variants.items():
            small = cut_down(settings, device=device)
            key = name if found.get(name, small) == small else f"{study.name}/{name}"
            if small not in found.values():
                found[key] = small
    return {name: settings for name, settings in found.items() if not sample or name in SAMPLE}


def cut_down(settings: Settings, **changes: Any) -> Settings:
    """A variant with an eighth of its epochs, in small batches, on the CPU unless `changes` name another device."""
    epochs = max(2, settings.epochs // SHORTER)
    values = settings.model_dump() | {"epochs": epochs, "batch": BATCH, "device": "cpu"} | changes
    return parse(Settings, values, "variant")


def pack_images(folder: Path) -> Path:
    """Pack the images below `folder`."""
    pack(IMAGES, folder / "images")
    return folder / "images"


def write_settings(folder: Path, name: str, settings: Settings) -> Path:
    """A variant's resolved settings as a file that `harness train` takes."""
    path = folder / f"{name.replace('/', '-')}.json"
    write_json(path, settings.model_dump())
    return path


STREAMS = ("initial", "batch_order", "augmentation", "losses", "weights")


def run_proof(run: Path) -> dict[str, str]:
    """Hashes of all that a run is: its streams as it recorded them, and the bytes of its losses and weights.

    The weights lie in the cache of the working folder, which is above that of the records.
    """
    folder = RunFolder(run, run)
    record = Provenance.read(folder.provenance)
    hashes = record.hashes.model_dump()
    found = {name: hashlib.sha256(json.dumps(hashes[name]).encode()).hexdigest() for name in STREAMS}
    entry = Path("runs") / name_of(record.fingerprint, record.hashes.weights)
    (weights,) = (above / entry / FILE for above in run.parents if (above / entry).exists())
    return found | {"losses.npy": hash_file(folder.losses), FILE: hash_file(weights)}


def results_proof(results: Path) -> dict[str, str]:
    """Hashes of what evaluation found: every image's prediction, and the errors."""
    folder = RunFolder(results, results)
    return {"predictions": hash_file(folder.predictions), "metrics": hash_file(folder.metrics)}


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """What differs between two proofs; a part that one alone has differs."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def training_part(proof: dict[str, str]) -> dict[str, str]:
    """A proof less what evaluation adds."""
    return {name: value for name, value in proof.items() if name not in ("predictions", "metrics")}
