"""Which images go where: seeded, stratified by class, decided from the labels before anything is decoded."""

import numpy as np

from harness.errors import UserError


def stratified(labels: np.ndarray, count: int, seed: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` images with each class's share of them, and the others; both ascending.

    The same for the same labels, count, seed and purpose. Shares are rounded by the largest remainder, so each class's
    number is within one of its exact share.
    """
    classes, sizes = np.unique(labels, return_counts=True)
    exact = sizes * count / max(len(labels), 1)
    quota = np.floor(exact).astype(int)
    short = count - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:short]] += 1
    taken = [
        np.random.default_rng([seed, label, *purpose.encode()]).permutation(np.flatnonzero(labels == label))[:number]
        for label, number in zip(classes.tolist(), quota, strict=True)
    ]
    chosen = np.sort(np.concatenate([np.empty(0, dtype=int), *taken]))
    return chosen, np.setdiff1d(np.arange(len(labels)), chosen)


def limited(labels: np.ndarray, limit: int | None, seed: int, key: str) -> np.ndarray:
    """Indices of the images that a limit leaves. Raises `UserError` above all there are, or below one a class."""
    if limit is None:
        return np.arange(len(labels))
    classes = len(np.unique(labels))
    if not classes <= limit <= len(labels):
        raise UserError(f"data.{key}: got {limit}; allowed: {classes} (one a class) to {len(labels)} (all)")
    chosen, _ = stratified(labels, limit, seed, key)
    if len(np.unique(labels[chosen])) < classes:
        raise UserError(f"data.{key}: {limit} of {len(labels)} images leaves a class without an image; take more")
    return chosen


def cut(labels: np.ndarray, fraction: float, seed: int, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Indices of a part of about `fraction` and of the rest. Raises `UserError` when either would lack a class."""
    part, rest = stratified(labels, round(len(labels) * fraction), seed, key)
    classes = set(labels.tolist())
    if set(labels[part].tolist()) != classes or set(labels[rest].tolist()) != classes:
        raise UserError(
            f"data.{key}: {fraction:g} of {len(labels)} images leaves a class without an image; take another part"
        )
    return part, rest
