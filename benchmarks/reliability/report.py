"""The report on all that was tried: reliability.md, and reliability.csv."""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.reliability.forks import fork_call, wait
from benchmarks.reliability.numerics import Distance
from benchmarks.reliability.tally import COLUMNS, Count, Tally
from harness.files import write_csv, write_json, write_text
from harness.provenance import machine, versions


@dataclass
class Found:
    """What was measured beside the counts: distances of losses, and operators with their reasons."""

    distances: list[Distance] = field(default_factory=list)
    operators: dict[str, str] = field(default_factory=dict)


INTRODUCTION = """\
What a run has to stand was done to it, and counted: each number here is of trials that were run, by
{command}. *Survived* means to the bit: the streams, losses, weights,
predictions and errors that it ends in are those of the run that nothing was done to. The variants are those of
`experiments/study.yaml` and `experiments/claims-small/study.yaml` with all their settings but an eighth of the epochs
and batches of 32, on some of the embedded images.
"""
COMMAND = {
    "cpu": "`nox -s reliability`; a smaller sample runs in the tests",
    "cuda": "`nox -s reliability -- --device cuda`",
}

KINDS = {
    "determinism": "The same bits under other circumstances. Each is an interpreter of its own, in which every "
    "variant is trained and evaluated.",
    "other numerics": "What does change the bits, and by how much; survived means finished. Threads, precision and "
    "compilation are recorded with every run.",
    "operators": "A variant a trial, of every declared study, made small; then an operator a trial, of all that these "
    "runs computed with.",
    "kill -9": "Killed from outside at a random moment of the place named, or by itself at a seam too short to be met.",
    "after kills": "What those runs came to: a run is killed several times before it is done.",
    "signals and locks": "Told to stop; and started twice.",
    "full disk": "No space is left, at a random moment.",
    "damaged checkpoint": "Both checkpoints of a run that was killed are kept; one is damaged, or both.",
    "kill -9 in other stages": "Killed at a random moment, and the same command again.",
    "DVC killed alone": "The trainer is left behind by the pipeline that started it.",
    "fuzzing": "Inputs drawn by hypothesis: settings of any kind, and files that are cut, emptied, flipped, "
    "overwritten, lengthened, of another type or shape.",
}


@dataclass
class Before:
    """A report that is there: its counts, the line on where it was made, and its sections by kind."""

    tally: Tally
    made: str
    sections: dict[str, str]


def files(folder: Path, device: str) -> tuple[Path, Path]:
    """The table and the text in `folder`: each device has its own."""
    name = "reliability" if device == "cpu" else f"reliability-{device}"
    return folder / f"{name}.csv", folder / f"{name}.md"


def here(device: str, folder: Path) -> str:
    """Where the trials run, in words. Asked in a child: a process that has used CUDA cannot fork others that do."""
    answer = folder / "here.json"

    def ask() -> int:
        write_json(answer, machine(torch.device(device), 1) | versions())
        return 0

    if wait(fork_call(ask, folder, folder / "here.log")):
        raise RuntimeError(f"{device}: {(folder / 'here.log').read_text().strip()}")
    made = json.loads(answer.read_text())
    cuda = f"{made['device_name']}, CUDA {made['cuda']}, cuDNN {made['cudnn']}; " if device != "cpu" else ""
    return f"{cuda}{made['cpu']}, {made['instructions']}, {made['os']}, Python {made['python']}, torch {made['torch']}"


def read(folder: Path, device: str) -> Before | None:
    """The report in `folder`, of which some kinds are tried again; None where there is none."""
    table, text = files(folder, device)
    if not table.exists() or not text.exists():
        return None
    tally = Tally()
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            tally.counts[row["kind"], row["what"]] = Count(int(row["tried"]), int(row["lost"]), row["note"])
    head, *parts = text.read_text().split("\n## ")
    named = (part.partition("\n") for part in parts)
    return Before(tally, head.strip().splitlines()[-1], {f"{n[0].lower()}{n[1:]}": body for n, _, body in named})


def write(
    folder: Path,
    device: str,
    tally: Tally,
    found: Found,
    seed: int,
    seconds: float,
    cpu: float,
    made: str,
    before: Before | None = None,
) -> None:
    """Write a device's report and its table into `folder`; `seconds` and `cpu`: how long all of it took.

    `made`: where, from `here`. `before`: a report in which the kinds of `tally` are replaced, and the others stay.
    """
    table, text = files(folder, device)
    again = list(dict.fromkeys(kind for kind, _ in tally.counts))
    tally = tally.over(before.tally) if before else tally
    rows = tally.rows()
    write_csv(table, rows, COLUMNS)
    bad = sum(count.tried for (kind, what), count in tally.counts.items() if kind == "fuzzing" and "valid" not in what)
    lines = [
        "# Reliability" if device == "cpu" else "# Reliability on a GPU",
        "",
        INTRODUCTION.format(command=COMMAND[device]),
        f"{sum(count.tried for count in tally.counts.values()):,} trials, {tally.lost} lost: "
        f"{tally.tried('kill -9') + tally.tried('kill -9 in other stages'):,} times `kill -9`, "
        f"{tally.tried('full disk'):,} full disks, {tally.tried('damaged checkpoint'):,} damaged checkpoints, "
        f"{bad:,} bad inputs.",
        "",
        f"{made}; {seconds / 60:.0f} minutes, of one core's time {cpu / 60:.0f}; moments and damages drawn with seed "
        f"{seed}.",
    ]
    if before:
        lines[-1] = f"{before.made} Again since, in {seconds / 60:.1f} minutes: {', '.join(again)}."
    for kind in dict.fromkeys(kind for kind, _ in tally.counts):
        if before and kind in before.sections and kind not in again:
            lines += ["", f"## {kind[0].upper()}{kind[1:]}", before.sections[kind].rstrip("\n")]
            continue
        lines += ["", f"## {kind[0].upper()}{kind[1:]}", "", KINDS.get(kind, ""), ""]
        lines += ["| what | tried | survived | lost | |", "|:--|--:|--:|--:|:--|"]
        for row in rows:
            if row["kind"] == kind:
                cells = (row["what"], row["tried"], row["survived"], row["lost"], row["note"])
                lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        if kind == "other numerics":
            lines += _distances(found.distances)
        if kind == "operators":
            lines += _operators(found.operators, device)
    write_text(text, "\n".join(lines) + "\n")


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _distances(distances: list[Distance]) -> list[str]:
    """The distance of each variant's losses from those of the run with one thread, in float32, not compiled."""
    lines = [
        "",
        "Largest difference over the loss, of all steps, and the first step that differs:",
        "",
    ]
    columns = list(dict.fromkeys(d.what for d in distances))
    lines += ["| variant | steps | " + " | ".join(columns) + " |", "|:--|--:|" + "--:|" * len(columns)]
    by: dict[str, dict[str, Distance]] = defaultdict(dict)
    for d in distances:
        by[d.variant][d.what] = d
    for variant, mine in by.items():
        steps = next(iter(mine.values())).steps
        cells = [_distance(mine[what]) if what in mine else "" for what in columns]
        lines.append(f"| `{variant}` | {steps} | " + " | ".join(cells) + " |")
    return lines


def _distance(d: Distance) -> str:
    return "none" if d.first is None else f"{d.largest:.1e} (step {d.first})"


def _operators(operators: dict[str, str], device: str) -> list[str]:
    """Operators by the reason for which they are deterministic on CUDA."""
    by: dict[str, list[str]] = defaultdict(list)
    for operator, why in operators.items():
        by[why].append(operator.removeprefix("aten.").removesuffix(".default"))
    lines = [
        "",
        "Why each is deterministic on a CUDA device: torch raises for those that it knows to be not "
        "(`torch.use_deterministic_algorithms(True)`, no warn-only); the tests marked `gpu` run them there twice and "
        f"compare the bits. These names were recorded on {'the CPU' if device == 'cpu' else 'CUDA'}, forward, "
        "backward, update and evaluation:",
        "",
        "| why | operators |",
        "|:--|:--|",
    ]
    for why, names in sorted(by.items(), key=lambda item: -len(item[1])):
        lines.append(f"| {_cell(why)} | {', '.join(f'`{name}`' for name in names)} |")
    return lines
