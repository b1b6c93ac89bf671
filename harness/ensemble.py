"""Nets of several seeds, averaged: the errors of the mean of their softmax outputs (section 6, tables 1 and 2)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.data.batches import Images
from harness.data.packed import Packed
from harness.data.store import images_of
from harness.features import see
from harness.identity.known import identity
from harness.net.alexnet import trained
from harness.net.predict import probabilities, top_errors
from harness.numerics import configure
from harness.progress import say
from harness.record import Run, RunFolder, read_run
from harness.settings.study import Cell, Study
from harness.weights import ensure

STEP = 0.05
"""Step of the search for weights, as in the authors' own (avg-valid.py)."""


def ensembles(study: Study, root: Path, known: dict[str, Any]) -> dict[str, Any]:
    """Errors in percent of the ensembles that the study names: of all seeds of a variant, or of several variants.

    With equal weights on the centre crop and on ten crops, and on the centre crop with weights that minimise the
    validation error. Diverged runs are left out. `known`: what was computed before; an ensemble of the same runs by
    the same code is taken from there, since its nets may not be here. Raises `UserError` when a run is missing.
    """
    errors: dict[str, Any] = {}
    for name in study.file.ensembles:
        cells = [Cell(study.name, variant, seed) for variant in name.split("+") for seed in study.seeds]
        runs = {cell.key: read_run(RunFolder.of(root / cell.results)) for cell in cells}
        nets = {key: run for key, run in runs.items() if run.provenance.status == "finished"}
        for key in runs.keys() - nets.keys():
            say(f"ensemble: {key} diverged and is left out")
        if not nets:
            say(f"ensemble: {name}: every run diverged, and there is none")
            continue
        made_of = {"code": identity("eval"), "weights": {key: run.hashes.weights for key, run in nets.items()}}
        if (known.get(name) or {}).get("made_of") == made_of:
            errors[name] = known[name]
        else:
            errors[name], made_of["weights"] = _ensemble(nets, images_of(study, root))
            errors[name]["made_of"] = made_of
        say(f"ensemble: {name}: {len(nets)} nets, test error {errors[name]['test_top1']:.2f} %")
    return errors


def _ensemble(nets: dict[str, Run], packed: Packed) -> tuple[dict[str, Any], dict[str, str]]:
    """Errors of the mean of several nets, and the hashes of the weights that they had: others than recorded, where
    this machine cannot make the recorded ones.
    """
    hashes: dict[str, str] = {}
    probs: list[tuple[Tensor, Tensor, Tensor]] = []
    for key, run in nets.items():
        settings = run.config.resolved
        numerics = configure(settings)
        weights, hashes[key] = ensure(run, key, packed)
        net = trained(settings, run.images.channels, run.images.classes, weights).to(numerics.device)
        test, validation = (Images(packed, part, settings, numerics.device) for part in ("test", "validation"))
        seen = see(net, test, numerics, ten=True)
        probs.append((seen["centre"], seen["ten"], probabilities(net, validation, numerics)))
    centre, ten, validation_probs = (torch.stack(part) for part in zip(*probs, strict=True))
    labels = test.labels.cpu()
    weight = tuned(validation_probs, validation.labels.cpu())
    errors = {
        "seeds": sorted({run.seed for run in nets.values()}),
        "nets": list(nets),
        "test_top1": top_errors(centre.mean(0), labels),
        "test_top1_10crop": top_errors(ten.mean(0), labels),
        "weights": [round(float(w), 2) for w in weight],
        "test_top1_tuned": top_errors(mixed(centre, weight), labels),
    }
    return errors, hashes


def mixed(probs: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean (count, classes) of what several nets say: (nets, count, classes)."""
    return (weights[:, None, None] * probs).sum(0) / weights.sum()


def tuned(probs: Tensor, labels: Tensor) -> Tensor:
    """Weights (nets,) by coordinate search for the least error on `labels`, from equal ones; ties keep what is there.

    `probs` is (nets, count, classes).
    """
    weights = torch.ones(len(probs))
    lowest, before = top_errors(mixed(probs, weights), labels), float("inf")
    while lowest < before:
        before = lowest
        for net in range(len(probs)):
            for value in torch.arange(0, 1 + STEP / 2, STEP):
                trial = weights.clone()
                trial[net] = value
                if trial.sum() > 0 and (error := top_errors(mixed(probs, trial), labels)) < lowest:
                    lowest, weights = error, trial
    return weights
