"""One and many: how a counted noun is written."""


def counted(n: int, noun: str) -> str:
    """`1 run`, `2 runs`, `1,200 steps`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def verb(n: int, base: str) -> str:
    """`1 changes`, `2 change`."""
    return f"{base}s" if n == 1 else base


def product(variants: int, seeds: int, noun: str) -> str:
    """`4 variants x 5 seeds = 20 runs`."""
    return f"{counted(variants, 'variant')} x {counted(seeds, 'seed')} = {counted(variants * seeds, noun)}"
