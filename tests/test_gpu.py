"""What only a GPU can show."""

from pathlib import Path

import pytest
import torch
from conftest import evaluated, recorded, tiny, trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch.cuda.is_available() is false"),
]


CIFAR = {"gpus": 1, "dropout": 0, "bias_init": 0, "fc_width": 4096, "init": "paper", "init_std_mid": 0.01}


@pytest.mark.parametrize(
    "switch",
    [
        {}, {"lrn": False}, {"overlap_pool": False}, {"dropout": 0.0}, {"augment": False}, {"gpus": 1},
        {"activation": "tanh"}, {"spatial_norm": True}, {"precision": "tf32"}, {"precision": "bfloat16"},
        {"columns": "apart"}, {"columns": "dense"}, {"depth": "+conv6"}, {"depth": "-conv3"}, {"mean": "scalar"},
        {"dropout_place": "inputs"}, {"colour_scale": "per_image"}, {"momentum_form": "torch"}, {"init": "torch"},
        CIFAR | {"net": "cifar_quick"}, CIFAR | {"net": "cifar_local"}, {"curve_images": 50}, {"vary": "dropout"},
    ],
)  # fmt: skip
def test_two_runs_on_a_gpu_are_bitwise_identical(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, switch: dict[str, object]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = []
    for name in ("one", "two"):
        runs.append(trained(tiny(device="cuda", **switch), packed, tmp_path / name))
        evaluated(runs[-1], packed)
    assert runs[0].hashes == runs[1].hashes
    assert runs[0].provenance.machine["device"] == "cuda:0"
    one, two = (recorded(run.folder.training) for run in runs)
    assert one.measured == two.measured


def test_a_gpu_and_a_cpu_see_the_same_batches(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = (trained(tiny(device=device), packed, tmp_path / device).hashes for device in ("cpu", "cuda"))
    for same in ("initial", "batch_order", "augmentation"):
        assert getattr(one, same) == getattr(two, same)
