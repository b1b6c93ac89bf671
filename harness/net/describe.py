"""The net's table in numbers and words: per layer and in total."""

from collections.abc import Sequence
from typing import Any

from harness.net.layout import Activation, Dropout, Norm, Op, Pool, Row


def describe(rows: Sequence[Row]) -> dict[str, Any]:
    """Shapes, parameters, neurons and multiply-accumulates of every layer, and their totals."""
    layers: list[dict[str, Any]] = [
        {
            "name": row.name,
            "kind": row.kind,
            "inputs": row.inputs,
            "outputs": row.outputs,
            "kernel": row.kernel,
            "stride": row.stride,
            "pad": row.pad,
            "pad_end": row.pad_end,
            "groups": row.groups,
            "side": row.side,
            "side_after": row.side_after,
            "after": [_op(op) for op in row.after],
            "init_std": row.init_std,
            "bias_init": row.bias_init,
            "weights": row.weights,
            "biases": row.parameters - row.weights,
            "parameters": row.parameters,
            "neurons": row.neurons,
            "macs": row.macs,
        }
        for row in rows
    ]
    total = {key: sum(layer[key] for layer in layers) for key in ("weights", "biases", "parameters", "neurons", "macs")}
    return {"layers": layers, "total": total}


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


def as_text(rows: Sequence[Row]) -> str:
    """The same as a table of plain text."""
    described = describe(rows)
    head = ["layer", "output", "kernel", "groups", "then", "parameters", "neurons", "MACs"]
    lines = [head]
    for layer in described["layers"]:
        conv = layer["kind"] != "fc"
        lines.append(
            [
                layer["name"],
                f"{layer['outputs']}x{layer['side']}x{layer['side']}" if conv else str(layer["outputs"]),
                f"{layer['kernel']}x{layer['kernel']}/{layer['stride']}"
                + (" local" if layer["kind"] == "local" else "")
                if conv
                else "",
                str(layer["groups"]) if conv else "",
                ", ".join(layer["after"]),
                *(f"{layer[key]:,}" for key in ("parameters", "neurons", "macs")),
            ]
        )
    lines.append(
        ["total", "", "", "", "", *(f"{described['total'][key]:,}" for key in ("parameters", "neurons", "macs"))]
    )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i >= 5 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
