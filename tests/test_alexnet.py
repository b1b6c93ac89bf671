"""The modules are those of the table, and each switch changes the function that it names."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from harness.net.alexnet import AlexNet
from harness.net.layout import Pool, layout
from harness.settings.load import resolve

SMALL = {"preset": ["paper", "small"], "width": 0.25, "fc_width": 16}


def net(seed: int = 0, **settings: object) -> AlexNet:
    made = AlexNet(resolve(SMALL | settings, "test"), 3, 10)
    made.initialise(seed)
    return made


def pixels(count: int = 4, side: int = 24) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 60


@pytest.mark.parametrize(("gpus", "parameters"), [(2, 60_965_224), (1, 59_798_312)])
def test_the_modules_have_the_tables_parameters(gpus: int, parameters: int) -> None:
    with torch.device("meta"):
        made = AlexNet(resolve({"gpus": gpus}, "test"))
    assert sum(p.numel() for p in made.parameters()) == parameters
    for row in made.rows:
        assert sum(p.numel() for p in made.layers[row.name].parameters()) == row.parameters


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize(("geometry", "crop"), [("imagenet", 224), ("medium", 112), ("medium", 128), ("small", 27)])
def test_maps_have_the_tables_sizes(geometry: str, crop: int, overlap: bool) -> None:
    settings = resolve({"geometry": geometry, "crop": crop, "overlap_pool": overlap}, "test")
    with torch.device("meta"):
        made = AlexNet(settings)
    sides = {}
    for row in made.rows:
        made.layers[row.name].register_forward_hook(
            lambda module, inputs, output, name=row.name: sides.__setitem__(name, tuple(output.shape[1:]))
        )
    out = made(torch.empty(2, 3, crop, crop, device="meta"))
    assert out.shape == (2, 1000)
    assert sides == {
        row.name: (row.outputs, row.side, row.side) if row.kind == "conv" else (row.outputs,)
        for row in layout(settings)
    }


@pytest.mark.parametrize(("pad", "edges"), [("ceil", (0, 3, 0, 3)), ("both", (2, 2, 2, 2))])
def test_conv1_reads_zeros_beyond_the_right_and_bottom_edge_or_beyond_all(pad: str, edges: tuple[int, ...]) -> None:
    made = net(preset="paper", geometry="medium", crop=112, conv1_pad=pad).double()
    x, conv1 = pixels(2, 112).double(), made.layers["conv1"]
    _, _, maps = next(made.trace(x))
    torch.testing.assert_close(maps, F.conv2d(F.pad(x, edges), conv1.weight, conv1.bias, stride=4))
    assert maps.shape[2:] == (27, 27)


@pytest.mark.parametrize(
    ("geometry", "sides"),
    [
        ("floor", {"conv1": (55, 27), "conv2": (27, 13), "conv5": (13, 6)}),
        ("as_run", {"conv1": (55, 28), "conv2": (26, 13), "conv5": (11, 6)}),
    ],
)
def test_two_by_two_pooling_rounds_down_or_up_as_run(geometry: str, sides: dict[str, tuple[int, int]]) -> None:
    made = net(preset="paper", overlap_pool=False, pool_geometry=geometry)
    found: dict[str, list[int]] = {}
    before = None
    for name, op, maps in made.trace(pixels(1, 224)):
        if isinstance(op, Pool):
            found[name].append(maps.shape[-1])
            torch.testing.assert_close(maps, F.max_pool2d(before, 2, 2, ceil_mode=geometry == "as_run"))
        elif op is None:
            found[name] = [maps.shape[-1]]
        before = maps
    assert {name: tuple(found[name]) for name in sides} == sides


def test_initial_weights_have_the_declared_spread_and_biases() -> None:
    made = net(width=1.0, fc_width=256, bias_init=0.7)
    for row in made.rows:
        weight, bias = made.layers[row.name].weight, made.layers[row.name].bias
        assert weight.std().item() == pytest.approx(row.init_std, rel=0.05)
        assert weight.mean().item() == pytest.approx(0, abs=4 * row.init_std / weight.numel() ** 0.5)
        assert bias.unique().tolist() == pytest.approx(
            [0.7 if row.name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0]
        )


def test_leaving_a_layer_out_leaves_the_initial_weights_of_the_others() -> None:
    full, cut = net(), net(depth="-conv4")
    for name in ("conv1", "conv2", "conv3", "conv5", "fc6", "fc7", "fc8"):
        assert torch.equal(full.layers[name].weight, cut.layers[name].weight), name


@pytest.mark.parametrize(
    "switch",
    [
        {"lrn": False}, {"overlap_pool": False}, {"activation": "tanh"}, {"activation": "logistic"}, {"dropout": 0.0},
        {"spatial_norm": True}, {"order1": "norm-pool-relu"}, {"lrn_alpha": 1e-2}, {"lrn_k": 1.0},
    ],
)  # fmt: skip
def test_a_switch_of_the_function_leaves_the_weights_and_changes_the_output(switch: dict[str, object]) -> None:
    base, other = net(), net(**switch)
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), other.parameters(), strict=True))
    assert not torch.equal(base(pixels()), other(pixels()))


def test_dropout_drops_in_training_and_scales_at_test_time_or_the_other_way_round() -> None:
    base = net(bias_init=0.1)
    masks = base.draw_masks(4, seed=0, epoch=1, step=0)
    assert sorted(masks) == ["fc6", "fc7"]
    ones = {name: torch.ones_like(mask) for name, mask in masks.items()}
    none = net(bias_init=0.1, dropout=0.0)(pixels())
    original, inverted = base, net(bias_init=0.1, dropout_form="inverted")
    # All kept: the original form is then the net without dropout; the inverted one is it at test time.
    torch.testing.assert_close(original(pixels(), ones), none)
    torch.testing.assert_close(inverted(pixels()), none)
    assert not torch.allclose(original(pixels()), none)
    assert not torch.allclose(original(pixels(), masks), original(pixels(), ones))


def test_masks_keep_units_with_the_declared_probability_and_differ_by_step_and_layer() -> None:
    made = net(fc_width=256, dropout=0.3)
    first, again, other = (made.draw_masks(128, 0, 1, step) for step in (0, 0, 1))
    assert first["fc6"].float().mean().item() == pytest.approx(0.7, abs=0.01)
    assert torch.equal(first["fc6"], again["fc6"])
    assert not torch.equal(first["fc6"], other["fc6"])
    assert not torch.equal(first["fc6"], first["fc7"])


def test_columns_meet_in_conv3_alone_among_the_convolutions() -> None:
    made = net(width=1.0, lrn_span="column")
    x = pixels(1).requires_grad_()
    seen: dict[str, torch.Tensor] = {}
    for name in ("conv2", "conv3"):
        made.layers[name].register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o))
    made.layers["conv1"].register_forward_hook(lambda m, i, o: seen.__setitem__("conv1", o))
    made(x)
    half = seen["conv2"].shape[1] // 2
    for name, reaches in (("conv2", False), ("conv3", True)):
        gradient = torch.autograd.grad(seen[name][:, :half].sum(), seen["conv1"], retain_graph=True)[0]
        other_column = gradient[:, gradient.shape[1] // 2 :]
        assert bool(other_column.abs().sum() > 0) is reaches, name
