"""A net sees the pixels that the paper describes: 0..255 less the mean, cut, reflected and coloured as drawn."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny

from harness.data.batches import Images, TrainingBatches
from harness.data.packed import Packed

CPU = torch.device("cpu")


def images(packed: Path, **settings: Any) -> Images:
    return Images(Packed.open(packed), "test", tiny(**settings), CPU)


def batches(packed: Path, **settings: Any) -> TrainingBatches:
    return TrainingBatches(Packed.open(packed), tiny(**settings), 0, CPU)


def by_hand(packed: Path, index: int, top: int, left: int, flip: bool, mean: np.ndarray) -> np.ndarray:
    """A view of a test image as (3, 24, 24): the stored pixels less `mean` at the same places, cut and reflected."""
    stored = Packed.open(packed).part("test").images[index].astype(np.float32) - mean
    view = stored[top : top + 24, left : left + 24]
    return (view[:, ::-1] if flip else view).transpose(2, 0, 1)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("corner", [(0, 0), (3, 8), (8, 1)])
def test_a_view_is_the_stored_pixels_less_the_mean_where_they_lie(
    packed: Path, corner: tuple[int, int], flip: bool
) -> None:
    made = images(packed)
    seen = made.view(made.fetch(np.array([5, 7])), torch.tensor([corner, (4, 4)]), torch.tensor([flip, False]))
    assert seen.shape == (2, 3, 24, 24)
    mean = Packed.open(packed).mean
    np.testing.assert_array_equal(seen[0].numpy(), by_hand(packed, 5, *corner, flip, mean))
    np.testing.assert_array_equal(seen[1].numpy(), by_hand(packed, 7, 4, 4, False, mean))


def test_the_mean_is_the_images_its_centre_a_channels_or_one_number_and_the_rest_is_scaled(packed: Path) -> None:
    mean = Packed.open(packed).mean
    stored = Packed.open(packed).part("test").images[:1, 8:32, 1:25].astype(np.float32)
    expected = {
        "image_aligned": mean[8:32, 1:25],
        "image_centre": mean[4:28, 4:28],  # the centre of the mean image, wherever the crop lies
        "channel": mean.mean((0, 1)),
        "scalar": mean.mean(),
    }
    for kind, subtracted in expected.items():
        made = images(packed, mean=kind)
        seen = made.view(made.fetch(np.array([0])), torch.tensor([[8, 1]]), torch.tensor([False]))
        np.testing.assert_allclose(seen[0].permute(1, 2, 0).numpy(), (stored - subtracted)[0], rtol=1e-6, atol=1e-4)
        half = images(packed, mean=kind, input_scale=0.5)
        scaled = half.view(half.fetch(np.array([0])), torch.tensor([[8, 1]]), torch.tensor([False]))
        torch.testing.assert_close(scaled, seen * 0.5)


def test_ten_crops_are_the_corners_the_centre_and_their_mirrors(packed: Path) -> None:
    mean = Packed.open(packed).mean
    ten = next(images(packed).test_views(10, ten=True))
    expected = [
        by_hand(packed, 2, top, left, flip, mean)
        for top, left in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))
        for flip in (False, True)
    ]
    np.testing.assert_array_equal(np.stack([view[2].numpy() for view in ten]), np.stack(expected))
    one = next(images(packed).test_views(10, ten=False))
    assert len(one) == 1
    torch.testing.assert_close(one[0], ten[8])


def test_every_test_image_is_seen_once_in_order(packed: Path) -> None:
    parts = [views[0] for views in images(packed).test_views(32, ten=False)]
    assert [len(part) for part in parts] == [32, 32, 32, 4]
    mean = Packed.open(packed).mean
    seen = torch.cat(parts).numpy()
    np.testing.assert_array_equal(seen, np.stack([by_hand(packed, i, 4, 4, False, mean) for i in range(100)]))


def test_an_epoch_is_every_training_image_once_in_its_own_order(packed: Path) -> None:
    made = batches(packed)
    first, second = made.order(1), made.order(2)
    assert sorted(first) == list(range(270))
    assert not np.array_equal(first, second)
    taken = list(made.epoch(1))
    assert [len(b.labels) for b in taken] == [32] * 8 + [14]
    labels = torch.from_numpy(Packed.open(packed).part("train").labels)
    assert torch.equal(torch.cat([b.labels for b in taken]), labels[torch.from_numpy(first)])
    fixed = batches(packed, reshuffle=False)
    assert np.array_equal(fixed.order(1), fixed.order(2))


def test_draws_cover_the_declared_positions_and_flip_half(packed: Path) -> None:
    for kind, count in (("exclusive", 8), ("inclusive", 9)):
        made = batches(packed, crop_positions=kind)
        draws = [made.draw(1, step, 500) for step in range(4)]
        corners = torch.cat([d.corners for d in draws])
        assert corners.unique().tolist() == list(range(count))
        assert torch.cat([d.flips for d in draws]).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_crops_flips_and_colours_do_not_move_each_other(packed: Path) -> None:
    both, no_crops, no_flips = (
        batches(packed, **settings).draw(2, 1, 64) for settings in ({}, {"crops": False}, {"flips": False})
    )
    assert torch.equal(both.flips, no_crops.flips)
    assert torch.equal(both.corners, no_flips.corners)
    assert both.colour is not None
    assert torch.equal(both.colour, no_crops.colour)
    assert no_crops.corners.unique().tolist() == [4]
    assert not no_flips.flips.any()


def test_chunks_of_a_batch_share_crop_and_flip_and_not_colour(packed: Path) -> None:
    drawn = batches(packed, crop_chunk=16, batch=64).draw(1, 0, 64)
    for chunk in range(4):
        part = slice(16 * chunk, 16 * chunk + 16)
        assert len(drawn.corners[part].unique(dim=0)) == 1
        assert len(drawn.flips[part].unique()) == 1
    assert drawn.colour is not None
    assert len(drawn.colour.unique(dim=0)) == 64


@pytest.mark.parametrize("scale", ["eigenvalue", "root"])
def test_colour_noise_has_the_declared_spread_along_the_principal_components(packed: Path, scale: str) -> None:
    manifest = Packed.open(packed).manifest
    made = batches(packed, colour=0.1, colour_scale=scale)
    noise = torch.cat([c for step in range(40) if (c := made.draw(1, step, 500).colour) is not None]).double()
    along = noise @ torch.tensor(manifest.eigenvectors, dtype=torch.float64).T
    values = np.array(manifest.eigenvalues)
    # In grey levels: the eigenvalue of pixels in 0..1 times 255, or the root of the eigenvalue of pixels in 0..255.
    expected = 0.1 * (np.sqrt(values) if scale == "root" else values / 255**2 * 255)
    np.testing.assert_allclose(along.std(0).numpy(), expected, rtol=0.03)
    np.testing.assert_allclose(along.mean(0).numpy(), 0, atol=0.05 * expected.max())


def test_coloured_images_are_shifted_and_divided_as_declared(packed: Path) -> None:
    plain = batches(packed, colour=0.0)
    coloured = batches(packed, colour=0.1, colour_scale="root", colour_divide=1.1)
    a, b = next(plain.epoch(1)), next(coloured.epoch(1))
    assert b.draws.colour is not None
    torch.testing.assert_close(b.images, (a.images + b.draws.colour[:, :, None, None]) / 1.1)


def test_colour_noise_ends_where_declared(packed: Path) -> None:
    made = batches(packed, epochs=91, colour_until=67 / 91)
    assert made.draw(67, 0, 4).colour is not None
    assert made.draw(68, 0, 4).colour is None
