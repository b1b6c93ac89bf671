"""Nets of several seeds, averaged: the errors of the mean of their softmax outputs (section 6, tables 1 and 2)."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import Packed
from harness.errors import UserError
from harness.net.predict import probabilities, ten_crops, top_errors
from harness.numerics import configure
from harness.progress import say
from harness.record import RunFolder, read_config
from harness.settings.study import Study
from harness.train.run import load_net

STEP = 0.05
"""Step of the search for weights, as in the authors' own (avg-valid.py)."""


def ensembles(study: Study, root: Path) -> dict[str, Any]:
    """Errors in percent of the ensemble of all seeds of each variant that the study names under `ensembles`.

    With equal weights on the centre crop and on ten crops, and on the centre crop with weights that minimise the
    validation error. Diverged runs are left out and named. Raises `UserError` when a run is missing.
    """
    found: dict[str, Any] = {}
    for variant in study.file.ensembles:
        centre, ten, valid, seeds = [], [], [], []
        labels = valid_labels = torch.empty(0, dtype=torch.int64)
        for seed in study.seeds:
            folder = RunFolder(root / "runs" / study.name / f"{variant}-{seed}")
            if not folder.model.exists():
                raise UserError(f"{folder.path}: no run is there; run: harness run {study.path} first")
            config = read_config(folder.config)
            numerics = configure(config.settings)
            net = load_net(folder, config).to(numerics.device)
            packed = Packed.open(root / study.packed)
            test = Images(packed, "test", config.settings, numerics.device)
            validation = Images(packed, "validation", config.settings, numerics.device)
            labels, valid_labels = test.labels.cpu(), validation.labels.cpu()
            said = ten_crops(net, test, numerics)
            if not bool(said[0].isfinite().all()):
                say(f"ensemble: {variant}-{seed} diverged and is left out")
                continue
            centre.append(said[0])
            ten.append(said[1])
            valid.append(probabilities(net, validation, numerics))
            seeds.append(seed)
        if not seeds:
            found[variant] = {"seeds": []}
            continue
        weights = tuned(torch.stack(valid), valid_labels)
        found[variant] = {
            "seeds": seeds,
            "test_top1": top_errors(torch.stack(centre).mean(0), labels),
            "test_top1_10crop": top_errors(torch.stack(ten).mean(0), labels),
            "weights": [round(float(w), 2) for w in weights],
            "test_top1_tuned": top_errors(mixed(torch.stack(centre), weights), labels),
        }
        say(f"ensemble: {variant}: {len(seeds)} nets, test error {found[variant]['test_top1']:.2f} %")
    return found


def mixed(said: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean (count, classes) of what several nets say: (nets, count, classes)."""
    return (weights[:, None, None] * said).sum(0) / weights.sum()


def tuned(said: Tensor, labels: Tensor) -> Tensor:
    """Weights (nets,) by coordinate search for the least error on `labels`, from equal ones; ties keep what is there.

    `said` is (nets, count, classes).
    """
    grid = torch.arange(0, 1 + STEP / 2, STEP)
    weights = torch.ones(len(said))
    best = [float("inf"), top_errors(mixed(said, weights), labels)]
    while best[-1] < best[-2]:
        lowest = best[-1]
        for net in range(len(said)):
            for value in grid:
                trial = weights.clone()
                trial[net] = value
                if trial.sum() > 0 and (error := top_errors(mixed(said, trial), labels)) < lowest:
                    lowest, weights = error, trial
        best.append(lowest)
    assert all(later <= earlier for earlier, later in pairwise(best))  # noqa: S101
    return weights
