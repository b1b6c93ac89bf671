"""Records of runs as training and evaluation leave them, made from a seeded generator: for tests that need many."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from harness.files import hash_json, write_array, write_json
from harness.identity.known import identity
from harness.net.layout import layout
from harness.record import (
    HISTORY,
    Config,
    Hashes,
    Images,
    Metrics,
    Provenance,
    RunFolder,
    hash_losses,
    write_metrics,
    write_training,
)
from harness.settings.load import load_study
from harness.settings.schema import Settings
from harness.settings.study import Study

EFFECTS = {
    "base": 0.0, "no-lrn": 0.2, "no-overlap": 0.75, "no-dropout": -3.1, "no-augment": -4.0, "one-gpu": 0.6,
    "no-decay": 0.05, "tanh": 3.5,
}  # fmt: skip
"""Points of test error, variant less baseline."""

STEPS = 28
"""Steps of an epoch."""

IMAGES = Images(
    name="fashion-mnist-8k",
    hash=hash_json("data"),
    size=28,
    classes=10,
    channels=1,
    class_names=["T-shirt/top", "Trouser"],
    counts={"train": 3500, "validation": 500, "test": 4000},
    left_out=0,
)

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
components:
  no-lrn: LRN
  no-overlap: overlapping pooling
  no-dropout: dropout
  no-augment: augmentation
  one-gpu: two columns
  no-decay: weight decay
  tanh: ReLU
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
    """One run's records by the present code; the same settings, seed and effect give the same bytes.

    `changes`: dotted keys of config.json, provenance.json or metrics.json, as `provenance__hashes__code`.
    """
    # Of what is not the paper's: a setting that the schema gains moves no number.
    identity_hash = hash_json(settings.model_dump(exclude_defaults=True))
    rng = np.random.default_rng([seed, int(identity_hash[:8], 16)])
    common = np.random.default_rng(seed).normal(0, 0.35)  # what a seed does to every variant alike
    error = round((21.4 + effect + common + rng.normal(0, 0.3)) / 0.025) * 0.025
    training = max(error - 2.0 + (2.5 * effect if effect < -1 else 0), 0.1)
    # As evaluation makes it: from 4,000 labels of which a part is right.
    numbers = {
        "test_top1": error, "test_top1_10crop": error - 0.6, "test_top5": error / 20, "test_top5_10crop": error / 21,
        "test_loss": error / 35, "test_images": 4000, "train_top1": training, "train_top5": training / 20,
        "validation_top1": round(error * 2) / 2 + 0.2,
    }  # fmt: skip
    losses = np.random.default_rng([seed, 1]).normal(2, 0.1, STEPS * settings.epochs).astype(np.float32)
    config = Config.of(settings, seed, IMAGES)
    measured = Metrics(status="finished", diverged_epoch=None, code=identity("eval"), numbers=numbers)
    files: dict[str, Any] = {
        "config": config.model_dump(),
        "provenance": _provenance(config, settings, hash_losses(losses)).model_dump(),
        "metrics": measured.as_json(),
    }
    for key, value in changes.items():
        name, *path, last = key.split("__")
        place = files[name]
        for part in path:
            place = place[part]
        place[last] = value
    shutil.rmtree(folder, ignore_errors=True)
    run = RunFolder.of(folder)
    write_training(
        run.training,
        Config.model_validate(files["config"]),
        Provenance.model_validate(files["provenance"]),
        _history(settings, error, training, rng),
        losses,
    )
    write_json(run.metrics, files["metrics"])
    _write_predictions(run.predictions, error, rng)


def diverge(folder: Path, epoch: int) -> None:
    """Make a run one that diverged: its history ends, its metrics hold no number, its predictions no row."""
    files = RunFolder.of(folder)
    for path in (files.provenance, files.metrics):
        alter(path, lambda values: values.update(status="diverged", diverged_epoch=epoch))
    measured = Metrics.read(files.metrics)
    write_metrics(files, measured.model_copy(update={"numbers": {}}))
    pq.write_table(pq.read_table(files.predictions).slice(0, 0), files.predictions, compression="zstd")
    lines = files.history.read_text().splitlines()[: epoch + 1]
    row = {"epoch": epoch, "lr": 0.01, "train_top1": 90.0, "validation_top1": 90.0, "seconds": 2.0, "time": 1.7e9}
    lines[epoch] = ",".join(str(row.get(name, "nan")) for name in lines[0].split(","))
    files.history.write_text("\n".join(lines) + "\n")
    write_array(files.losses, np.load(files.losses)[: STEPS * epoch])


def alter(path: Path, change: Callable[[Any], object]) -> None:
    """Change what a JSON file holds."""
    values = json.loads(path.read_text())
    change(values)
    write_json(path, values)


def _provenance(config: Config, settings: Settings, losses: str) -> Provenance:
    values, seed = config.settings, config.seed
    return Provenance(
        fingerprint=config.fingerprint,
        status="finished",
        diverged_epoch=None,
        resumed=[],
        command=f"python -m harness train experiments/study.yaml:x --seed {seed}",
        commit="0123456789abcdef0123456789abcdef01234567",
        dirty=None,
        dvc_stage=None,
        machine={
            "device": "cpu", "device_name": "AMD EPYC", "threads": 1, "cpu": "AMD EPYC", "instructions": "AVX2",
            "os": "Linux x86_64",
        },
        versions={
            "python": "3.11.2", "torch": "2.9.0", "numpy": "2.0.0", "cuda": None, "cudnn": None, "driver": None,
        },
        packages=hash_json("packages"),
        hashes=Hashes(
            data=IMAGES.hash,
            code=identity("train"),
            initial=_initial(settings, seed),
            batch_order=hash_json(["order", seed]),
            augmentation=hash_json(["augmentation", seed]),
            losses=losses,
            weights=hash_json([values, seed, "weights"]),
        ),
        started=1.7e9,
        wall_seconds=60.0 + seed,
        images_per_second=1700.0,
        peak_memory_mb=600.0,
        parameters=352_874 if settings.gpus == 2 else 318_010,
        steps=STEPS * settings.epochs,
    )  # fmt: skip


def _initial(settings: Settings, seed: int) -> dict[str, str]:
    """As real ones: equal where seed, shape, sd and biases are."""
    rows = layout(settings, channels=1, classes=10)
    return {
        row.name: hash_json([row.name, seed, row.inputs, row.outputs, row.groups, row.init_std, row.bias_init])
        for row in rows
    }


def _history(settings: Settings, error: float, training: float, rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, settings.epochs + 1):
        left = np.exp(-3.5 * epoch / settings.epochs)
        noise = rng.normal(0, 0.6)
        now, train_error = error + 45 * left + noise, training + 6 + 50 * left
        clean = (train_error / 40, train_error - 6) if settings.curve_images else (math.nan, math.nan)
        values = (epoch, 0.01, train_error / 28, train_error, now / 33, now, *clean, 2.0, 1.7e9 + 2 * epoch)
        rows.append(dict(zip(HISTORY, values, strict=True)))
    return rows


def _write_predictions(path: Path, error: float, rng: np.random.Generator) -> None:
    labels = np.repeat(np.arange(10), 400)
    wrong = rng.random(4000) < error / 100
    first = np.where(wrong, (labels + 1) % 10, labels).astype(np.int16)
    columns: dict[str, np.ndarray] = {"index": np.arange(4000, dtype=np.int32), "label": labels.astype(np.int16)}
    columns |= {f"top{place + 1}": ((first + place) % 10).astype(np.int16) for place in range(5)}
    columns |= {"p1": np.full(4000, 0.5, np.float32), "p_label": np.where(wrong, 0.25, 0.5).astype(np.float32)}
    columns |= {"correct": ~wrong}
    pq.write_table(pa.table(columns), path, compression="zstd")
