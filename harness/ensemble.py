"""Nets of several seeds, averaged: the errors of the mean of their softmax outputs (section 6, tables 1 and 2)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import Packed
from harness.errors import UserError
from harness.features import see
from harness.net.predict import probabilities, top_errors
from harness.numerics import configure
from harness.progress import say
from harness.record import RunFolder, read_config
from harness.settings.study import Study
from harness.train.run import load_net

STEP = 0.05
"""Step of the search for weights, as in the authors' own (avg-valid.py)."""


def ensembles(study: Study, root: Path) -> dict[str, Any]:
    """Errors in percent of the ensembles that the study names: of all seeds of a variant, or of several variants.

    With equal weights on the centre crop and on ten crops, and on the centre crop with weights that minimise the
    validation error. Diverged runs are left out and named. Raises `UserError` when a run is missing.
    """
    packed = Packed.open(root / study.packed)
    found: dict[str, Any] = {}
    for name in study.file.ensembles:
        said: dict[tuple[str, int], tuple[Tensor, Tensor, Tensor]] = {}
        for variant in name.split("+"):
            numerics = configure(study.variants[variant])
            test, validation = (
                Images(packed, part, study.variants[variant], numerics.device) for part in ("test", "validation")
            )
            labels = test.labels.cpu(), validation.labels.cpu()
            for seed in study.seeds:
                folder = RunFolder(root / "runs" / study.name / f"{variant}-{seed}")
                if not folder.model.exists():
                    raise UserError(f"{folder.path}: no run is there; run: harness run {study.path} first")
                net = load_net(folder, read_config(folder.config)).to(numerics.device)
                seen = see(net, test, numerics, ten=True)
                if seen.ten is not None and bool(seen.centre.isfinite().all()):
                    said[variant, seed] = seen.centre, seen.ten, probabilities(net, validation, numerics)
                else:
                    say(f"ensemble: {variant}-{seed} diverged and is left out")
        if not said:
            say(f"ensemble: {name}: every run diverged, and there is none")
            continue
        centres, tens, validations = (torch.stack(part) for part in zip(*said.values(), strict=True))
        weights = tuned(validations, labels[1])
        found[name] = {
            "seeds": sorted({seed for _, seed in said}),
            "nets": [f"{variant}-{seed}" for variant, seed in said],
            "test_top1": top_errors(centres.mean(0), labels[0]),
            "test_top1_10crop": top_errors(tens.mean(0), labels[0]),
            "weights": [round(float(w), 2) for w in weights],
            "test_top1_tuned": top_errors(mixed(centres, weights), labels[0]),
        }
        say(f"ensemble: {name}: {len(said)} nets, test error {found[name]['test_top1']:.2f} %")
    return found


def mixed(said: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean (count, classes) of what several nets say: (nets, count, classes)."""
    return (weights[:, None, None] * said).sum(0) / weights.sum()


def tuned(said: Tensor, labels: Tensor) -> Tensor:
    """Weights (nets,) by coordinate search for the least error on `labels`, from equal ones; ties keep what is there.

    `said` is (nets, count, classes).
    """
    weights = torch.ones(len(said))
    lowest, before = top_errors(mixed(said, weights), labels), float("inf")
    while lowest < before:
        before = lowest
        for net in range(len(said)):
            for value in torch.arange(0, 1 + STEP / 2, STEP):
                trial = weights.clone()
                trial[net] = value
                if trial.sum() > 0 and (error := top_errors(mixed(said, trial), labels)) < lowest:
                    lowest, weights = error, trial
    return weights
