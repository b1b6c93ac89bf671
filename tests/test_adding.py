"""The page on adding a component is followed to the letter: its edits are made in a copy, tested and run."""

import re
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


@pytest.mark.nightly
@pytest.mark.slow
def test_the_page_on_adding_a_component_works_as_it_is_written(tmp_path: Path) -> None:
    root = tmp_path / "copy"
    subprocess.run(["git", "clone", "-q", ROOT, root], check=True)
    edits = re.findall(r"```diff\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
    assert len(edits) == 7
    for file, lines in edits:
        old = "".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] != "+")
        new = "".join(f"{line[1:]}\n" for line in lines.splitlines() if line[0] != "-")
        text = (root / file).read_text()
        assert text.count(old) == 1, (file, old)
        (root / file).write_text(text.replace(old, new))

    def call(*words: str) -> str:
        done = subprocess.run(words, cwd=root, env=environment(root), capture_output=True, text=True, check=False)
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
    tests = ["-m", "pytest", "tests/test_factors.py", "-k", "gelu or nesterov", f"--basetemp={tmp_path / 'inner'}"]
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
    for variant in ("gelu", "nesterov"):
        call(*harness, "train", f"units:{variant}-0", "--allow-dirty")
        assert (root / f"reports/units/runs/{variant}-0/train/provenance.json").exists()
