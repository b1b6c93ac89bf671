"""Every setting that may change a run changes what it should, and nothing else; each trains, resumes and evaluates."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import evaluated, tiny, trained

from harness.data.batches import TrainingBatches
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.net.alexnet import AlexNet
from harness.numerics import configure
from harness.settings.schema import MACHINE, DataSettings, Settings
from harness.train.loop import Interrupted
from harness.train.recipe import SGD, Rates, parameter_rates, rate
from harness.weights import hash_modules, hash_tensors
from tests.probes.factors import FACTORS, factor_name

EPOCHS = 8

ELSEWHERE = {
    "geometry": "test_alexnet.py",
    "conv1_pad": "test_alexnet.py: it needs a larger geometry",
    "pool_geometry": "test_alexnet.py: it needs the largest geometry",
    "compile": "test_training.py",
    "pretrained": "test_training.py",
}
"""Settings that the small net cannot show, and where they are tested."""

NAMES = [factor_name(name, others, value) for name, others, value, _ in FACTORS]


def pair(name: str, others: dict[str, Any], value: Any) -> tuple[Settings, Settings]:
    base = {"epochs": EPOCHS} | others
    return tiny(**base), tiny(**(base | {name: value}))


def test_every_setting_is_in_the_table() -> None:
    assert {name for name, *_ in FACTORS} | set(ELSEWHERE) | set(MACHINE) == set(Settings.model_fields)


def reference() -> AlexNet:
    """A net that is the same whatever the settings of the run."""
    net = AlexNet(tiny(), 3, 10)
    net.initialise(3)
    return net


def update(settings: Settings) -> str:
    """Weights that the same gradients and falling rates leave, as the settings' update takes them."""
    optimiser = SGD(settings, reference())
    draws = torch.Generator().manual_seed(0)
    for lr in (0.1, 0.1, 0.01):
        optimiser.rates = {name: Rates(lr, 0.0) for name in optimiser.parameters}
        optimiser.step([torch.randn(weight.shape, generator=draws) for weight in optimiser.parameters.values()])
    return hash_tensors(optimiser.parameters)


def arithmetic(settings: Settings) -> bytes:
    """What the same net says of the same images in the settings' arithmetic."""
    x = torch.randn(4, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 60
    with torch.no_grad(), configure(settings).autocast():
        return reference()(x).float().numpy().tobytes()


def seen(settings: Settings, packed: Packed, likeness: AlexNet | None = None) -> dict[str, Any]:
    """What a run is made of, each part by itself, so that one can be seen to change while the others stay.

    `likeness`: a net whose weights the function is computed with, where all of them fit.
    """
    numerics = configure(settings)
    batches = TrainingBatches(packed, settings, 3, numerics.device)
    orders = [batches.order(epoch).tobytes() for epoch in (1, 2)]
    # The same images for both, whatever the order: the first of the part.
    draws = [batches.draw(epoch, step, 32) for epoch, step in ((1, 0), (1, 1), (min(EPOCHS, settings.epochs), 0))]
    stored = batches.images.fetch(batches.order(2)[:32])
    view = batches.images.view(stored, draws[0].corners, draws[0].flips, draws[0].colour)
    net = AlexNet(settings, 3, 10)
    net.initialise(3)
    drawn = hash_modules(net.state())
    weights = {row.name: ((row.outputs, row.fan_in), drawn[row.name]) for row in net.rows}
    if likeness is not None and [r.weights for r in likeness.rows] == [r.weights for r in net.rows]:
        net.restore(net.state() | likeness.state())
    x = torch.randn(4, 3, settings.crop, settings.crop, generator=torch.Generator().manual_seed(0)) * 60
    with torch.no_grad():
        function = net(x).numpy().tobytes() + net(x, net.draw_masks(4, 3, 1, 0)).numpy().tobytes()
    errors = [9.0, 8.0, 8.5, 8.5, 8.5, 8.5, 8.5, 8.5, 8.5]
    rates = [
        [asdict(parameter_rates(settings, row, bias, epoch, rate(settings, epoch, errors[: epoch - 1])))
         for row in net.rows for bias in (False, True)]
        for epoch in range(1, settings.epochs + 1)
    ]  # fmt: skip
    return {
        "layers": [(row.name, row.kind, row.inputs, row.outputs, row.groups, row.side) for row in net.rows],
        "weights": weights,
        "function": function,
        "order": orders,
        "stream": [draw.hashed("") for draw in draws],
        "images": view.numpy().tobytes(),
        "rates": rates,
        "length": (settings.epochs, batches.steps),
        "update": update(settings),
        "arithmetic": arithmetic(settings),
        "net": net,
    }


@pytest.mark.parametrize(("name", "others", "value", "changes"), FACTORS, ids=NAMES)
def test_a_factor_changes_what_it_should_and_nothing_else(
    name: str, others: dict[str, Any], value: Any, changes: str, packed: Path
) -> None:
    images = Packed.open(packed)
    base, other = pair(name, others, value)
    one = seen(base, images)
    two = seen(other, images, one.pop("net"))
    del two["net"]
    expected = set(changes.split())
    found = {part for part in one if one[part] != two[part]}
    # Weights are compared of the layers that both nets have in one size; rates, where the layers are the same.
    both = {layer for layer in one["weights"].keys() & two["weights"].keys()
            if one["weights"][layer][0] == two["weights"][layer][0]}  # fmt: skip
    if all(one["weights"][layer] == two["weights"][layer] for layer in both):
        found.discard("weights")
    if "layers" in found and "rates" not in expected:
        found.discard("rates")
    assert found == expected


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed images of two steps: 90 that train, 10 that validate, 20 that test."""
    folder = tmp_path_factory.mktemp("few") / "synthetic"
    pack(DataSettings(source="synthetic", train_limit=100, test_limit=20), folder)
    return folder


@pytest.mark.parametrize(("name", "others", "value"), [row[:3] for row in FACTORS], ids=NAMES)
def test_a_factor_trains_resumes_and_evaluates(
    name: str, others: dict[str, Any], value: Any, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.train import run as running

    monkeypatch.chdir(tmp_path)
    settings = tiny(**({"epochs": 1, "batch": 64} | others | ({name: value} if name != "epochs" else {})))
    straight = trained(settings, few, tmp_path / "straight")
    with monkeypatch.context() as patch:
        # Told to stop after the first step.
        patch.setattr(running, "_signals", lambda: nullcontext(lambda: True))
        with pytest.raises(Interrupted):
            trained(settings, few, tmp_path / "resumed")
    resumed = trained(settings, few, tmp_path / "resumed")
    assert straight.hashes == resumed.hashes
    assert resumed.provenance.resumed
    if straight.diverged_epoch is None:
        assert 0 <= evaluated(straight, few)["test_top1"] <= 100
