"""The named nets are what their sources say, to the parameter, and compute what their sources compute."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from conftest import tiny

from harness.net.alexnet import AlexNet
from harness.net.layout import Dropout, Layer, Norm, Pool, layout
from harness.net.local import GroupedLinear, LocallyConnected
from harness.settings.load import resolve
from harness.train.recipe import parameter_rates, rate


def rows(**settings: Any) -> dict[str, Layer]:
    return {row.name: row for row in layout(resolve(settings, "t"), 3)}


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({"preset": "paper"}, 60_965_224),
        ({"preset": "as_run"}, 60_965_224),
        ({"preset": "one_gpu_145_half"}, 59_798_312),
        ({"gpus": 1, "conv5": "half"}, 40_702_632),
        ({"columns": "dense"}, 62_378_344),
        ({"columns": "apart"}, 60_714_408),
        ({"preset": "caffe_bvlc"}, 60_965_224),
        ({"preset": "caffenet"}, 60_965_224),
        ({"preset": "owt_torchvision"}, 61_100_840),
        ({"depth": "-conv2"}, 60_104_808),
        ({"depth": "-conv3"}, 59_858_920),
        ({"depth": "-conv4"}, 60_301_288),
        ({"depth": "-conv5"}, 79_396_968),
        ({"overlap_pool": False, "pool_geometry": "as_run"}, 60_965_224),
        ({"preset": "cifar_19pct", "classes": 10}, 89_578),
        ({"preset": "cifar_13pct", "classes": 10}, 1_116_490),
        ({"preset": "cifar_13pct_lrn_r540", "classes": 10}, 1_116_490),
        ({"preset": "cifar_11pct_r541", "classes": 10}, 2_112_970),
    ],
)
def test_parameters_are_those_of_the_source(settings: dict[str, Any], count: int) -> None:
    assert sum(row.parameters for row in rows(**settings).values()) == count


def test_a_narrow_conv4_takes_the_place_of_conv5_and_a_sixth_convolution_lies_over_the_last_pooling() -> None:
    assert rows(depth="-conv5_narrow")["conv4"].outputs == 256
    assert [rows(depth=d)["fc6"].inputs for d in ("-conv5_narrow", "-conv5", "+conv6")] == [9216, 384 * 36, 9216]
    conv6 = rows(depth="+conv6")["conv6"]
    assert (conv6.inputs, conv6.outputs, conv6.side) == (256, 256, 6)


def test_columns_apart_meet_in_the_last_layer_alone() -> None:
    net = rows(columns="apart")
    assert {name: row.groups for name, row in net.items()} == {
        "conv1": 1, "conv2": 2, "conv3": 2, "conv4": 2, "conv5": 2, "fc6": 2, "fc7": 2, "fc8": 1,
    }  # fmt: skip
    settings = tiny(columns="apart", dropout=0, lrn_span="column")
    model = AlexNet(settings, 3, 10)
    model.initialise(0)
    x = torch.randn(2, 3, 24, 24, requires_grad=True)
    trace = {name: tensor for name, op, tensor in model.trace(x) if op is None}
    # A unit of fc7 in the first column does not depend on conv1's kernels of the second.
    half = trace["fc7"].shape[1] // 2
    gradient = torch.autograd.grad(trace["fc7"][:, :half].sum(), trace["conv1"])[0]
    kernels = gradient.shape[1] // 2
    assert gradient[:, kernels:].abs().sum() == 0
    assert gradient[:, :kernels].abs().sum() > 0


def test_owt_is_torchvisions_net() -> None:
    from torchvision.models import alexnet

    settings = resolve({"preset": "owt_torchvision"}, "t")
    net = AlexNet(settings, 3, 1000)
    net.initialise(0)
    made, theirs = alexnet(weights=None), alexnet(weights=None).eval()
    places = {"conv1": "features.0", "conv2": "features.3", "conv3": "features.6", "conv4": "features.8",
              "conv5": "features.10", "fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}  # fmt: skip
    theirs.load_state_dict(
        {f"{place}.{kind}": net.get_parameter(f"layers.{name}.{kind}") for name, place in places.items()
         for kind in ("weight", "bias")}
    )  # fmt: skip
    x = torch.randn(2, 3, 224, 224)
    torch.testing.assert_close(net(x), theirs(x), rtol=1e-5, atol=1e-5)
    # Dropout stands before fc6 and fc7, and not after fc7.
    assert [row.name for row in net.rows if any(isinstance(op, Dropout) for op in row.after)] == ["conv5", "fc6"]
    # torch's own initial weights lie within the same bounds.
    for name, place in places.items():
        own, other = net.get_parameter(f"layers.{name}.weight"), made.get_parameter(f"{place}.weight")
        bound = net.rows[list(places).index(name)].fan_in ** -0.5
        assert own.abs().max() <= bound
        assert own.std().item() == pytest.approx(other.std().item(), rel=0.03)


def test_caffe_pools_before_or_after_it_normalises() -> None:
    def order(name: str) -> list[type]:
        return [type(op) for op in rows(preset=name)["conv1"].after if isinstance(op, Norm | Pool)]

    assert order("caffe_bvlc") == [Norm, Pool]
    assert order("caffenet") == [Pool, Norm]
    norm = next(op for op in rows(preset="caffe_bvlc")["conv1"].after if isinstance(op, Norm))
    assert (norm.k, norm.alpha) == (1.0, pytest.approx(2e-5))
    assert {row.bias_init for row in rows(preset="caffe_bvlc").values()} == {0.0, 0.1}


@pytest.mark.parametrize(
    ("name", "conv1", "fc8"),
    [
        ("cifar_19pct", 0.004, 3.0),
        ("cifar_13pct", 0.0, 0.004),
        ("cifar_13pct_lrn_r540", 0.0, 0.004),
        ("cifar_11pct_r541", 0.0, 0.01),
    ],
)
def test_the_cifar_nets_keep_their_own_decay_and_rates(name: str, conv1: float, fc8: float) -> None:
    settings = resolve({"preset": name}, "t")
    net = {row.name: row for row in layout(settings, 3, 10)}

    def decay(layer: str, bias: bool = False) -> float:
        return parameter_rates(settings, net[layer], bias, 1, settings.lr).decay

    assert settings.lr == 0.001
    assert parameter_rates(settings, net["conv1"], True, 1, settings.lr).lr == 0.002
    assert all(decay(layer, True) == 0 for layer in net)
    assert (decay("conv1"), decay("fc8")) == (pytest.approx(conv1), pytest.approx(fc8))
    if name != "cifar_19pct":
        assert decay("local3") == decay("local4") == 0.004
    assert net["conv1"].init_std == 1e-4


def test_a_locally_connected_layer_is_a_convolution_of_its_own_at_every_place() -> None:
    draws = torch.Generator().manual_seed(0)
    layer = LocallyConnected(3, 5, 3, 1, 4)
    with torch.no_grad():
        layer.weight.normal_(generator=draws)
        layer.bias.normal_(generator=draws)
    x = torch.randn(2, 3, 4, 4, generator=draws)
    padded = F.pad(x, (1, 1, 1, 1))
    places = [(row, column) for row in range(4) for column in range(4)]
    windows = [padded[:, :, row : row + 3, column : column + 3].flatten(1) for row, column in places]
    outputs = [window @ layer.weight[n].T + layer.bias[n] for n, window in enumerate(windows)]
    expected = torch.stack(outputs, 2).view(2, 5, 4, 4)
    torch.testing.assert_close(layer(x), expected)
    # With one set of weights everywhere it is a convolution.
    with torch.no_grad():
        layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
        layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[0].view(5, 3, 3, 3), layer.bias[0], padding=1))


def test_a_linear_layer_in_columns_is_a_block_diagonal_one() -> None:
    layer = GroupedLinear(6, 4, 2)
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    x = torch.randn(3, 6)
    whole = torch.block_diag(layer.weight[:2].detach(), layer.weight[2:].detach())
    torch.testing.assert_close(layer(x), F.linear(x, whole, layer.bias))


@pytest.mark.parametrize(
    ("preset", "epochs", "drops", "slow", "rest", "colour", "bias"),
    [
        ("as_run", 91, (25, 51, 79), 67, 72, 67, 0.02),
        ("as_run_145_2010", 93, (23, 51, 78), None, None, None, 0.002),
        ("one_gpu_145_half", 96, (20, 48), 66, 72, 66, 0.02),
        ("as_run_147", 90, (23, 51, 79), None, 79, None, 0.002),
        ("as_run_148", 97, (22, 44, 86), 69, 73, None, 0.02),
        ("as_run_150", 91, (25, 51, 79), 67, 72, 67, 0.02),
    ],
)
def test_each_run_of_the_authors_goes_as_its_log_says(
    preset: str,
    epochs: int,
    drops: tuple[int, ...],
    slow: int | None,
    rest: int | None,
    colour: int | None,
    bias: float,
) -> None:
    """Epochs done when the rate falls, conv1 slows and rests, and colour noise ends; None: the log does not say."""
    settings = resolve({"preset": preset}, "t")
    assert settings.epochs == epochs
    weights = [rate(settings, epoch, []) for epoch in range(1, epochs + 1)]
    fallen = [done for done in range(1, epochs) if weights[done] < weights[done - 1]]
    assert fallen[: len(drops)] == list(drops)
    assert weights[0] == 0.01
    assert [round(lr / 0.01, 9) for lr in weights[-1:]] == [10.0 ** -len(fallen)]
    conv1, fc8 = rows(preset=preset)["conv1"], rows(preset=preset)["fc8"]
    first = [parameter_rates(settings, conv1, False, epoch, lr).lr for epoch, lr in enumerate(weights, 1)]
    resting = first.index(0.0)
    slowed = next(done for done, (lr, full) in enumerate(zip(first, weights, strict=True)) if lr < full)
    for logged, done in ((slow, slowed), (rest, resting), (colour, round(settings.colour_until * epochs))):
        assert logged is None or logged == done
    ends = parameter_rates(settings, fc8, True, epochs, weights[-1])
    assert (ends.lr, ends.decay) == (pytest.approx(bias), 0.0)
