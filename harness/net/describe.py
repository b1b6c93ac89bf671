"""The net's table in numbers and words: per layer and in total."""

from collections.abc import Sequence
from typing import Any

from harness.net.layout import Activation, Dropout, Layer, Norm, Op, Pool

FIELDS = (
    "name", "kind", "inputs", "outputs", "kernel", "stride", "pad", "pad_end", "groups", "side", "side_after", "after",
    "init_std", "bias_init", "weights", "biases", "parameters", "neurons", "macs",
)  # fmt: skip
TOTALS = ("weights", "biases", "parameters", "neurons", "macs")


def describe(rows: Sequence[Layer]) -> dict[str, Any]:
    """Shapes, parameters, neurons and multiply-accumulates of every layer, and their totals."""
    layers = [{name: getattr(row, name) for name in FIELDS} | {"after": [_op(op) for op in row.after]} for row in rows]
    return {"layers": layers, "total": {key: sum(layer[key] for layer in layers) for key in TOTALS}}


def _op(op: Op) -> str:
    match op:
        case Activation():
            return op.kind
        case Norm(spatial=True):
            return f"spatial norm {op.size}x{op.size}"
        case Norm():
            return f"LRN {op.size}" + (f" in {op.columns} columns" if op.columns > 1 else "")
        case Pool():
            return f"{'mean' if op.mean else 'max'} pool {op.kernel}/{op.stride} to {op.side}x{op.side}"
        case Dropout():
            return f"dropout {op.p:g}" + (" inverted" if op.inverted else "")
    return type(op).__name__


def as_text(rows: Sequence[Layer]) -> str:
    """The same as a table of plain text."""
    counts = ("parameters", "neurons", "macs")
    described = describe(rows)
    lines = [["layer", "output", "kernel", "groups", "then", "parameters", "neurons", "MACs"]]
    for row, layer in zip(rows, described["layers"], strict=True):
        shape = [str(row.outputs), "", ""]
        if row.kind != "fc":
            kernel = f"{row.kernel}x{row.kernel}/{row.stride}" + (" local" if row.kind == "local" else "")
            shape = [f"{row.outputs}x{row.side}x{row.side}", kernel, str(row.groups)]
        lines.append([row.name, *shape, ", ".join(layer["after"]), *(f"{layer[key]:,}" for key in counts)])
    lines.append(["total", "", "", "", "", *(f"{described['total'][key]:,}" for key in counts)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    signs = "<<<<<>>>"
    cells = [[f"{cell:{at}{width}}" for cell, at, width in zip(line, signs, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in cells)
