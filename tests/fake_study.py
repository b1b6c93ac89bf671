"""Results of cells as training and evaluation leave them, made from a seeded generator: for tests that need many."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.files import hash_json
from harness.net.layout import layout
from harness.report.cells import CLEAN, CURVE
from harness.settings.load import load_study
from harness.settings.schema import Settings
from harness.settings.study import Study

EFFECTS = {
    "base": 0.0, "no-lrn": 0.2, "no-overlap": 0.75, "no-dropout": -3.1, "no-augment": -4.0, "one-gpu": 0.6,
    "no-decay": 0.05, "tanh": 3.5,
}  # fmt: skip
"""Points of test error, variant less baseline."""

STUDY = """
name: components
title: Which components of AlexNet help?
purpose: Components are taken out of the net, one at a time.
data: {source: fashion-mnist-8k}
seeds: [0, 1, 2, 3, 4]
variants:
  base:       &base {preset: [paper, small], width: 0.5, colour: 0, epochs: EPOCHS}
  no-lrn:     {<<: *base, lrn: false}
  no-overlap: {<<: *base, overlap_pool: false}
  no-dropout: {<<: *base, dropout: 0}
  no-augment: {<<: *base, augment: false}
  one-gpu:    {<<: *base, gpus: 1}
  no-decay:   {<<: *base, weight_decay: 0}
  tanh:       {<<: *base, activation: tanh}
published:
  no-lrn:     {top1: 1.4, where: section 3.3}
  no-overlap: {top1: 0.4, where: section 3.4}
  one-gpu:    {top1: 1.7, where: section 3.2}
"""


def make_study(root: Path, text: str = STUDY, epochs: int = 30) -> Study:
    """Write a study file below `root` and read it."""
    path = root / "experiments" / "study.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("EPOCHS", str(epochs)))
    return load_study(path)


def make_results(study: Study, root: Path) -> None:
    """Results of every declared cell, below `root`."""
    for cell in study.cells:
        make_run(root / cell.results, study.variants[cell.variant], cell.seed, EFFECTS.get(cell.variant, 0.0))


def make_run(folder: Path, settings: Settings, seed: int, effect: float = 0.0, **changes: Any) -> None:
    """One run's results; the same settings, seed and effect give the same bytes.

    `changes`: dotted keys of provenance.json, config.json or metrics.json, as `provenance__hashes__code`.
    """
    values = settings.model_dump()
    rng = np.random.default_rng([seed, int(hash_json(values)[:8], 16)])
    common = np.random.default_rng(seed).normal(0, 0.35)  # what a seed does to every variant alike
    error = round((21.4 + effect + common + rng.normal(0, 0.3)) / 0.025) * 0.025
    training = max(error - 2.0 + (2.5 * effect if effect < -1 else 0), 0.1)
    # As evaluation makes it: from 4,000 labels of which a part is right.
    files: dict[str, Any] = {
        "config": _config(values, seed),
        "provenance": _provenance(values, seed, settings.gpus),
        "metrics": {
            "status": "finished", "diverged_epoch": None, "test_top1": error, "test_top1_10crop": error - 0.6,
            "test_top5": error / 20, "test_top5_10crop": error / 21, "test_loss": error / 35, "test_images": 4000,
            "train_top1": training, "train_top5": training / 20, "validation_top1": round(error * 2) / 2 + 0.2,
        },
    }  # fmt: skip
    for key, value in changes.items():
        name, *path, last = key.split("__")
        place = files[name]
        for part in path:
            place = place[part]
        place[last] = value
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    clean = CLEAN if settings.curve_images else ()
    _write_history(folder / "history.csv", settings.epochs, error, training, rng, clean)
    _write_predictions(folder / "predictions.parquet", error, rng)


def diverge(folder: Path, epoch: int) -> None:
    """Make a run one that diverged: its metrics hold no number, its history ends, it has no predictions."""
    (folder / "metrics.json").write_text(json.dumps({"status": "diverged", "diverged_epoch": epoch}))
    (folder / "predictions.parquet").unlink()
    lines = (folder / "history.csv").read_text().splitlines()[: epoch + 1]
    row = {"epoch": epoch, "lr": 0.01, "train_top1": 90.0, "validation_top1": 90.0, "seconds": 2.0, "time": 1.7e9}
    lines[epoch] = ",".join(str(row.get(name, "nan")) for name in lines[0].split(","))
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


def _config(values: dict[str, Any], seed: int) -> dict[str, Any]:
    return {
        "fingerprint": hash_json([values, seed]),
        "seed": seed,
        "data": {
            "name": "fashion-mnist-8k", "hash": hash_json("data"), "size": 28, "classes": 10, "channels": 1,
            "class_names": ["T-shirt/top", "Trouser"], "counts": {"train": 3500, "validation": 500, "test": 4000},
            "left_out": 0,
        },
        "settings": values,
    }  # fmt: skip


def _provenance(values: dict[str, Any], seed: int, gpus: int) -> dict[str, Any]:
    return {
        "fingerprint": hash_json([values, seed]), "status": "finished", "diverged_epoch": None, "resumed": [],
        "command": f"python -m harness train experiments/study.yaml:variants.x --seed {seed} --out runs/x",
        "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": None, "dvc_stage": None,
        "machine": {
            "device": "cpu", "device_name": "AMD EPYC", "threads": 1, "cpu": "AMD EPYC", "instructions": "AVX2",
            "os": "Linux x86_64",
        },
        "versions": {"python": "3.11.2", "torch": "2.9.0", "numpy": "2.0.0", "cuda": None, "cudnn": None,
                     "driver": None},
        "packages": hash_json("packages"),
        "hashes": {
            "data": hash_json("data"), "code": hash_json("code"), "initial": _initial(values, seed),
            "batch_order": hash_json(["order", seed]), "augmentation": hash_json(["augmentation", seed]),
            "losses": hash_json([values, seed, "losses"]), "weights": hash_json([values, seed, "weights"]),
        },
        "started": 1.7e9, "wall_seconds": 60.0 + seed, "images_per_second": 1700.0, "peak_memory_mb": 600.0,
        "parameters": 352_874 if gpus == 2 else 318_010, "steps": 840,
    }  # fmt: skip


def _initial(values: dict[str, Any], seed: int) -> dict[str, str]:
    """As real ones: equal where seed, shape, sd and biases are."""
    rows = layout(Settings(**values), channels=1, classes=10)
    return {
        row.name: hash_json([row.name, seed, row.inputs, row.outputs, row.groups, row.init_std, row.bias_init])
        for row in rows
    }


def _write_history(
    path: Path, epochs: int, error: float, training: float, rng: np.random.Generator, clean: tuple[str, ...]
) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *CURVE, *clean, "seconds", "time"])
        for epoch in range(1, epochs + 1):
            left = np.exp(-3.5 * epoch / epochs)
            noise = rng.normal(0, 0.6)
            now, own = error + 45 * left + noise, training + 6 + 50 * left
            known = [own / 40, own - 6][: len(clean)]
            writer.writerow([epoch, 0.01, own / 28, own, now / 33, now, *known, 2.0, 1.7e9 + 2 * epoch])


def _write_predictions(path: Path, error: float, rng: np.random.Generator) -> None:
    labels = np.repeat(np.arange(10), 400)
    wrong = rng.random(4000) < error / 100
    first = np.where(wrong, (labels + 1) % 10, labels).astype(np.int16)
    columns: dict[str, np.ndarray] = {"index": np.arange(4000, dtype=np.int32), "label": labels.astype(np.int16)}
    columns |= {f"top{place + 1}": ((first + place) % 10).astype(np.int16) for place in range(5)}
    columns |= {f"p{place + 1}": np.full(4000, 0.5 / 2**place, np.float16) for place in range(5)}
    columns |= {"p_label": np.where(wrong, 0.25, 0.5).astype(np.float16), "correct": ~wrong}
    pq.write_table(pa.table(columns), path, compression="zstd")
