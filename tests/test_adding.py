"""The page on adding a component is followed to the letter: its edits are made in a copy, tested and run."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest
from clones import ROOT, environment

PAGE = (ROOT / "docs/adding.md").read_text()

UPDATE = """
import torch
from harness.net.alexnet import AlexNet
from harness.settings.load import resolve
from harness.train.recipe import SGD
from tests.probes.factors import TINY

settings = resolve(TINY | {"momentum_form": "nesterov", "weight_decay": 0.0}, "t")
net = AlexNet(settings, 3, 10)
net.initialise(0)
ours = SGD(settings, net)
copies = [p.detach().clone().requires_grad_() for p in ours.parameters.values()]
theirs = torch.optim.SGD(copies, lr=0.01, momentum=0.9, nesterov=True)
ours.set_epoch(1, 0.01)
for step in range(3):
    gradients = [torch.full_like(p, 0.1 * (step + 1)) for p in copies]
    for copy, gradient in zip(copies, gradients):
        copy.grad = gradient.clone()
    ours.step(gradients)
    theirs.step()
for one, two in zip(ours.parameters.values(), copies):
    torch.testing.assert_close(one.detach(), two.detach(), rtol=1e-5, atol=1e-7)
"""

BATCH_NORM = """
import hashlib, json, sys
import torch
from harness.data.packed import Packed
from harness.net.alexnet import AlexNet, trained
from harness.net.layout import layout
from harness.process import hold
hold("portable")
from harness.record import RunFolder, read_run
from harness.report.isolation import proofs
from harness.report.runs import read_results
from harness.settings.load import find_study, load_study
from harness.train.recipe import SGD
from harness.weights import load
from pathlib import Path

study = load_study(find_study(Path("units")))
settings, base = study.variants["batch-norm"], study.variants["base"]
kernels = [row.outputs for row in layout(settings)[:2]]
counts = [sum(row.parameters for row in layout(one, 3, 10)) for one in (base, settings)]
assert counts[1] - counts[0] == 2 * sum(kernels), counts

# A training pass normalises by its batch, and moves the means; the trained net does neither, in whatever it is asked.
net = AlexNet(settings, 3, 10)
assert sum(p.numel() for p in net.parameters()) == counts[1]
net.initialise(0)
net.layers.double()
images = torch.randn(16, 3, settings.crop, settings.crop, dtype=torch.float64) * 60
before = {name: one.clone() for name, one in net.state().items()}
maps = net.layers.conv1(images).relu()
first = next(result for name, op, result in net.trace(images) if type(op).__name__ == "BatchNorm")
torch.testing.assert_close(first.mean((0, 2, 3)), torch.zeros(kernels[0], dtype=torch.float64))
torch.testing.assert_close(net.state()["conv1.norm.running_mean"], 0.1 * maps.mean((0, 2, 3)))
in_training = net(images, net.draw_masks(16, 0, 1, 0))
assert not torch.equal(net.eval()(images), in_training)
run = read_run(RunFolder.of(Path("reports/units/runs/batch-norm-0")))
weights = load(run)
assert {name for name in weights if "norm" in name} == {
    f"conv{i}.norm.{kind}" for i in (1, 2)
    for kind in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}
assert weights["conv1.norm.num_batches_tracked"] == run.provenance.steps
again = trained(settings, run.images.channels, run.images.classes, weights)
again(images.float())
assert all(torch.equal(one, weights[name]) for name, one in again.state().items())

# They learn as biases do.
changes = {"bias_lr": 3.0, "decay_bias": False, "conv1_freeze": 0.5, "epochs": 2}
optimiser = SGD(settings.model_copy(update=changes), net)
optimiser.set_epoch(1, 0.1)
for kind in ("weight", "bias"):
    assert optimiser.rates[f"conv2.norm.{kind}"] == optimiser.rates["conv2.bias"] != optimiser.rates["conv2.weight"]
optimiser.set_epoch(2, 0.1)
assert optimiser.rates["conv1.norm.weight"].lr == 0

# Everything that it does not change is the baseline's: batch order, augmentation, every layer's initial weights.
(check,) = [one for one in proofs(study, read_results(study, None, Path("."))) if one.variant == "batch-norm"]
assert check.verdict == "proven", check
assert check.union("changed") == ["batch_norm"] and not check.union("moved")
assert check.union("initial_affected") == ["conv1.norm", "conv2.norm"]
"""

KILLED = """
import os, signal
from harness.process import hold
hold("portable")
from harness.cli import main
from harness.train.checkpoint import Checkpoints
save = Checkpoints.save
def saved(self, *state):
    save(self, *state)
    os.kill(os.getpid(), signal.SIGKILL)
Checkpoints.save = saved
main()
"""

BITS = """
import hashlib, torch
from torch.nn import BatchNorm2d
torch.set_num_threads(1)
x = torch.randn(16, 24, 12, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
norm = BatchNorm2d(24)
(norm(x) * x).sum().backward()
parts = [x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var, norm.eval()(x)]
print(hashlib.sha256(b"".join(one.detach().numpy().tobytes() for one in parts)).hexdigest())
"""


@pytest.mark.nightly
@pytest.mark.slow
def test_the_page_on_adding_a_component_works_as_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", ROOT, root], check=True)
    edits = re.findall(r"```diff\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(edits) == 15
    for file, lines in edits:
        old = "".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] != "-")
        text = (root / file).read_text()
        assert text.count(old) == 1, (file, old)
        (root / file).write_text(text.replace(old, new))

    def call(*words: str, **variables: str) -> str:
        env = environment(root) | variables
        done = subprocess.run(words, cwd=root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (factors,) = re.findall(r"```yaml\nfactors:\n(.*?)```", PAGE, re.DOTALL)
    study = root / "experiments/units/study.yaml"
    study.parent.mkdir()
    study.write_text(
        "name: units\ntitle: T\npurpose: P.\nseeds: [0]\ndata: {source: synthetic, train_limit: 100, test_limit: 40}\n"
        "settings: {preset: [paper, small], width: 0.125, fc_width: 32, epochs: 1, batch: 16, init_std_mid: 0.03}\n"
        f"factors:\n{factors}plan: [{{kind: one_factor}}]\n"
    )
    tests = [
        "-m",
        "pytest",
        "tests/test_factors.py",
        "-k",
        "gelu or nesterov or batch_norm",
        f"--basetemp={tmp_path / 'inner'}",
    ]
    assert re.search(r"[1-9]\d* passed|^\.+ ", call("python", *tests), re.MULTILINE)
    call("python", "-c", UPDATE)
    harness = ("python", "-m", "harness")
    assert "gelu" in call(*harness, "variants", "activation")
    only = ("train-factor-lrn-False", "train-fixed-torch", "train-factor-activation-gelu", "eval-few-classes",
            "data-synthetic")  # fmt: skip
    proven = call(*harness, "numerics", "prove", *(word for name in only for word in ("--only", name)))
    assert "train: 2 probes bitwise identical" in proven
    assert "stale" not in call(*harness, "doctor")
    call(*harness, "check", "units")
    call(*harness, "data", "units")
    for variant in ("base", "gelu", "nesterov", "batch-norm"):
        call(*harness, "train", f"units:{variant}-0", "--allow-dirty")
        call(*harness, "eval", f"units:{variant}-0")
    call("python", "-c", BATCH_NORM)
    call(*harness, "check-component", "batch_norm")
    assert "BatchNorm" in call(*harness, "describe", "units:batch-norm-0")
    # Killed after each of its first steps, it ends as the run that nothing stopped.
    options = ["train", "units:batch-norm-0", "--allow-dirty", "--out", "killed", "--checkpoint-seconds", "0"]
    for _ in range(3):
        done = subprocess.run(["python", "-c", KILLED, *options], cwd=root, env=environment(root), check=False)
        assert done.returncode == -signal.SIGKILL
    call(*harness, *options)
    straight, killed = (
        json.loads((root / place / "provenance.json").read_text())
        for place in ("reports/units/runs/batch-norm-0/train", "killed")
    )
    assert killed["resumed"] == [1, 1, 1]
    assert killed["hashes"] == straight["hashes"]
    # By kernels of torch's own: what MKL and oneDNN may use does not matter.
    torch_alone = {"ATEN_CPU_CAPABILITY": "avx2"}
    narrow = {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"}
    assert call("python", "-c", BITS, **torch_alone) == call("python", "-c", BITS, **torch_alone, **narrow)
