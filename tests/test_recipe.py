"""The update and the schedules are the paper's, or torch's where so declared."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.net.alexnet import AlexNet
from harness.settings.check import unreached
from harness.settings.load import resolve
from harness.train.recipe import SGD, parameter_rates, plateau_drops, rate

TINY = {"preset": ["paper", "small"], "width": 0.1, "fc_width": 4}
RATES = [0.01, 0.01, 0.001, 0.001, 0.0001]


def net(**settings: object) -> AlexNet:
    made = AlexNet(resolve(TINY | settings, "test"), 1, 3).double()
    made.initialise(0)
    return made


def gradients(made: AlexNet, step: int) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, generator=source, dtype=torch.float64) for p in made.parameters()]


CONV1 = net().rows[0]


def by_hand(form: str, weight: torch.Tensor, steps: list[tuple[float, float, torch.Tensor]]) -> torch.Tensor:
    """The update written out, element by element: steps of (rate, decay, gradient)."""
    w, v = weight.clone(), torch.zeros_like(weight)
    for lr, decay, gradient in steps:
        for i in range(w.numel()):
            wi, vi, gi = w.view(-1)[i].item(), v.view(-1)[i].item(), gradient.reshape(-1)[i].item()
            if form == "paper":
                vi = 0.9 * vi - decay * lr * wi - lr * gi
                wi = wi + vi
            else:
                vi = 0.9 * vi + gi + decay * wi
                wi = wi - lr * vi
            w.view(-1)[i], v.view(-1)[i] = wi, vi
    return w


@pytest.mark.parametrize("form", ["paper", "torch"])
@pytest.mark.parametrize("name", ["conv2.weight", "conv2.bias"])
def test_update_is_the_hand_written_loop_across_drops_of_the_rate(form: str, name: str) -> None:
    declared = {"momentum_form": form, "bias_lr": 2.0, "decay_bias": False}
    made, bias = net(**declared), name.endswith("bias")
    optimiser = SGD(resolve(TINY | declared, "t"), made)
    index, before = list(optimiser.parameters).index(name), optimiser.parameters[name].detach().clone()
    taken = []
    for step, lr in enumerate(RATES):
        optimiser.set_epoch(1, lr)
        drawn = gradients(made, step)
        optimiser.step(drawn)
        taken.append((2 * lr, 0.0, drawn[index]) if bias else (lr, optimiser.settings.weight_decay, drawn[index]))
    torch.testing.assert_close(optimiser.parameters[name].detach(), by_hand(form, before, taken))


def test_torchs_form_is_torchs_sgd_and_the_papers_is_not_once_the_rate_falls() -> None:
    nets = {form: net(momentum_form=form, decay_bias=True) for form in ("paper", "torch")}
    optimisers = {form: SGD(resolve(TINY | {"momentum_form": form}, "t"), made) for form, made in nets.items()}
    reference = net()
    torchs = torch.optim.SGD(reference.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for step, lr in enumerate(RATES):
        drawn = gradients(reference, step)
        torchs.param_groups[0]["lr"] = lr
        for parameter, gradient in zip(reference.parameters(), drawn, strict=True):
            parameter.grad = gradient.clone()
        torchs.step()
        for optimiser in optimisers.values():
            optimiser.set_epoch(1, lr)
            optimiser.step(drawn)
        weights = {form: torch.cat([p.detach().flatten() for p in made.parameters()]) for form, made in nets.items()}
        expected = torch.cat([p.detach().flatten() for p in reference.parameters()])
        torch.testing.assert_close(weights["torch"], expected)
        assert torch.allclose(weights["paper"], expected) is (lr == 0.01)


@pytest.mark.parametrize(
    ("declared", "rates"),
    [
        (
            {"schedule": "fixed", "drops": [0.6, 0.8, 0.93], "epochs": 30},
            [1e-2] * 18 + [1e-3] * 6 + [1e-4] * 4 + [1e-5] * 2,
        ),
        ({"preset": "as_run"}, [1e-2] * 25 + [1e-3] * 26 + [1e-4] * 28 + [1e-5] * 12),
        (
            {"schedule": "cosine", "epochs": 4},
            [0.005 * (1 + math.cos(math.pi * done)) for done in (0, 0.25, 0.5, 0.75)],
        ),
        ({"schedule": "exponential", "epochs": 8}, [0.01 * 250 ** (-q / 3) for q in (0, 0, 1, 1, 2, 2, 3, 3)]),
    ],
)
def test_schedules_that_follow_the_epoch(declared: dict[str, object], rates: list[float]) -> None:
    settings = resolve(declared, "t")
    assert [rate(settings, epoch, []) for epoch in range(1, settings.epochs + 1)] == pytest.approx(rates)


def test_plateau_drops_when_the_validation_error_stops_improving() -> None:
    settings = resolve({"patience": 2, "max_drops": 2}, "t")
    assert plateau_drops(settings, [50, 40, 30]) == 0
    assert plateau_drops(settings, [50, 40, 41]) == 0
    assert plateau_drops(settings, [50, 40, 41, 40]) == 1
    assert plateau_drops(settings, [50, 40, 41, 40, 39, 45, 45]) == 2
    assert plateau_drops(settings, [50] * 100) == 2
    assert rate(settings, 5, [50, 40, 41, 40]) == pytest.approx(0.001)


@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 6), st.integers(0, 4))
def test_plateau_never_raises_the_rate(errors: list[float], patience: int, most: int) -> None:
    settings = resolve({"patience": patience, "max_drops": most}, "t")
    drops = [plateau_drops(settings, errors[:n]) for n in range(len(errors) + 1)]
    assert all(0 <= b - a <= 1 for a, b in pairwise(drops))
    assert drops[-1] <= most


def test_biases_have_their_own_rate_and_decay_and_conv1_rests_late() -> None:
    settings = resolve({"preset": "as_run"}, "t")
    conv1, conv2 = net(preset="as_run", geometry="small", crop=24).rows[:2]
    assert parameter_rates(settings, conv2, False, 60, 1e-4).lr == pytest.approx(1e-4)
    assert parameter_rates(settings, conv2, False, 60, 1e-4).decay == pytest.approx(5e-4)
    # As run the biases kept .02 to the end.
    assert parameter_rates(settings, conv2, True, 60, 1e-4).lr == pytest.approx(0.02)
    assert parameter_rates(settings, conv2, True, 60, 1e-4).decay == 0
    assert [parameter_rates(settings, conv1, False, epoch, 1e-4).lr for epoch in (67, 68, 72, 73)] == pytest.approx(
        [1e-4, 1e-5, 1e-5, 0]
    )
    paper = resolve({}, "t")
    assert parameter_rates(paper, conv2, True, 1, 0.01).lr == pytest.approx(0.01)
    assert parameter_rates(paper, conv2, True, 1, 0.01).decay == pytest.approx(5e-4)


def test_inverted_dropout_with_compensation_takes_the_original_path() -> None:
    """Same function after every update, not only at the start: rate times 1/4, decay times 4, initial sd times 1/2."""
    nets, optimisers = {}, {}
    for form in ("original", "inverted_compensated", "inverted"):
        settings = resolve(TINY | {"dropout_form": form, "fc_width": 16, "bias_init": 0.1}, "t")
        nets[form] = AlexNet(settings, 1, 3).double()
        nets[form].initialise(3)
        optimisers[form] = SGD(settings, nets[form])
    x = torch.randn(8, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 60
    labels = torch.arange(8) % 3
    for step in range(20):
        outputs = {}
        for form, made in nets.items():
            masks = made.draw_masks(8, 0, 1, step)
            logits = made(x, masks)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            optimisers[form].set_epoch(1, 0.001)
            optimisers[form].step(torch.autograd.grad(loss, list(optimisers[form].parameters.values())))
            outputs[form] = logits.detach()
        torch.testing.assert_close(outputs["original"], outputs["inverted_compensated"])
    assert not torch.allclose(outputs["original"], outputs["inverted"])


@given(st.integers(1, 12), st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1))
def test_what_no_epoch_reaches_changes_no_rate_and_a_rest_that_one_reaches_does(
    epochs: int, slow: float, freeze: float, drop: float
) -> None:
    declared = {"epochs": epochs, "conv1_slow": slow, "conv1_freeze": freeze, "schedule": "fixed", "drops": [drop]}

    def rates(**settings: object) -> list[object]:
        resolved = resolve(TINY | declared | settings, "t")
        weights = [rate(resolved, epoch, []) for epoch in range(1, epochs + 1)]
        return [parameter_rates(resolved, CONV1, False, epoch, lr) for epoch, lr in enumerate(weights, 1)]

    named = {line.split(":")[0] for line in unreached(resolve(TINY | declared, "t"))}
    for name, value in {"conv1_slow": 1.0, "conv1_freeze": 1.0, "drops": []}.items():
        if name in named:
            assert rates(**{name: value}) == rates(), name
    if freeze < 1:
        assert ("conv1_freeze" in named) == all(one.lr for one in rates())  # type: ignore[attr-defined]
