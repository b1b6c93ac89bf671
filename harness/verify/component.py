"""What a component may not do, found in tiny runs: see `check_component`."""

from __future__ import annotations

import io
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from harness import randomness
from harness.data.pack import pack
from harness.data.packed import Packed
from harness.errors import UserError
from harness.files import read_json, write_json
from harness.identity.code import ROOT, digest
from harness.identity.known import read_known
from harness.numerics import configure
from harness.process import start
from harness.report.isolation import MOVES_DRAWS, MOVES_ORDER
from harness.settings.load import resolve
from harness.settings.parse import allowed, parse
from harness.settings.schema import LATER, DataSettings, Settings, recorded, sparse
from harness.train.checkpoint import Checkpoints
from harness.train.loop import Interrupted, Trainer
from harness.verify.rerun import FIRST_EPOCHS
from harness.verify.watch import Watch, place_of
from harness.weights import hash_modules, hash_tensors

SEED = 3
STOPS = (3, 7)
"""Pauses, one after each step and each epoch, after which the interrupted run is resumed."""

BASE: dict[str, Any] = {
    "preset": ["paper", "small"], "width": 0.25, "fc_width": 16, "epochs": 2, "batch": 32, "schedule": "cosine",
    "init_std_mid": 0.03, "bias_init": 0.1, "device": "cpu",
}  # fmt: skip
IMAGES: dict[str, Any] = {"source": "synthetic", "train_limit": 140, "test_limit": 30}
_CIFAR = {"gpus": 1, "dropout": 0, "bias_init": 0, "fc_width": 4096, "init_std_mid": 0.01, "init": "paper"}
_LARGE = {"geometry": "imagenet", "crop": 224, "width": 0.0625, "epochs": 1}
BESIDE: tuple[dict[str, Any], ...] = (
    {}, {"gpus": 1}, {"schedule": "fixed"}, {"schedule": "plateau"}, _CIFAR, _CIFAR | {"net": "cifar_local"},
    _LARGE | {"geometry": "medium", "crop": 112, "gpus": 1}, _LARGE, _LARGE | {"overlap_pool": False},
)  # fmt: skip
"""Settings that some values need beside them: the first with which one is allowed are taken."""

Run = dict[str, Any]
"""What a run comes to."""

Found = dict[str, list[str]]
"""Check -> what is wrong, with its file and line."""

CHECKS = ("trains", "random numbers", "streams", "test part", "time and process", "same bits", "resumes")


def check_component(words: Sequence[str], root: Path) -> bool:
    """Train tiny nets with a setting's values and print, a line a check, what it does that it may not.

    `words`: `NAME` or `NAME=VALUE`, then others that it needs. Returns whether all is well. Raises `UserError`, as for
    an unknown setting.
    """
    given = dict(map(_parsed, words))
    if unknown := [key for key in given if key not in Settings.model_fields]:
        raise UserError(f"check-component: got {unknown[0]!r}; a setting is allowed, see: harness variants")
    name = next(iter(given))
    value = given.pop(name)
    tried = _values(name) if value is None else [value]
    pairs = [_pair(name, one, given) for one in tried]
    with tempfile.TemporaryDirectory(prefix="harness-component-") as temporary:
        folder = Path(temporary)
        jobs = [(*pair, _images(max(one.crop for one in pair), folder)) for pair in pairs]
        write_json(folder / "jobs.json", [[sparse(settings), str(data)] for settings, _, data in jobs])
        os.environ["PYTHONHASHSEED"] = str(1 + (os.environ.get("PYTHONHASHSEED") == "1"))  # another one than here
        program = "from harness.process import hold; hold('portable'); from harness.verify import component; component"
        again = start({}, "-c", f"{program}.train_again()", folder, code=ROOT, caches=folder, quiet=True)
        all_well = _printed(f"{name}, not used", {"default": _default(name, jobs[0][2], root, folder)})
        made = [_judged(name, one, base, data, folder) for one, base, data in jobs]
        others = _result(again, folder / "again.json")
        for one, (run, found), other in zip(tried, made, others, strict=True):
            found["same bits"] = _differing(run, other) if run else []
            all_well = _printed(f"{name}={json.dumps(one)}", found) and all_well
    return all_well


def _parsed(word: str) -> tuple[str, Any]:
    name, equals, text = word.partition("=")
    try:
        return name, YAML(typ="safe", pure=True).load(text) if equals else None
    except YAMLError as error:
        raise UserError(f"check-component: got {word!r}; allowed: NAME or NAME=VALUE") from error


def _printed(title: str, found: Found) -> bool:
    print(title)
    for check, lines in found.items():
        print(
            *(f"  {'wrong' if lines else 'ok':6} {check}{f': {line}' if line else ''}" for line in lines or [""]),
            sep="\n",
        )
    return not any(found.values())


def _values(name: str) -> list[Any]:
    """Values that a setting is tried with: every other word, the other of two, or a number beside the base's."""
    field, base = Settings.model_fields[name], getattr(resolve(BASE, "base"), name)
    if get_origin(field.annotation) is Literal or field.annotation is bool:
        return [word for word in get_args(field.annotation) or (True, False) if word != base]
    numbers: list[Any] = [10] if base is None else [[0.5]] if isinstance(base, list) else []
    if isinstance(base, (int, float)):
        numbers = [type(base)(one) for one in (base * 2, base / 2, base + 1, 1, 0.5)]
    for value in numbers:
        with suppress(UserError):
            if value != base and _pair(name, value, {}):
                return [value]
    raise UserError(f"{name}: name a value, as {name}=VALUE; allowed: {allowed(Settings, name)}")


def _pair(name: str, value: Any, given: dict[str, Any]) -> tuple[Settings, Settings]:
    """The run with a value, and the one beside it without, where that is allowed. Raises `UserError`."""
    failures = []
    for beside in BESIDE:
        values = BASE | beside | given
        try:
            settings = resolve(values | {name: value}, "check-component")
        except UserError as error:
            failures.append(error)
            continue
        with suppress(UserError):
            return settings, resolve({k: v for k, v in values.items() if k != name or k in BASE}, "check-component")
        return settings, settings
    raise failures[0]


def _images(crop: int, folder: Path) -> Path:
    out = folder / f"images-{max(32, crop + 8)}"
    if not out.exists():
        with redirect_stdout(io.StringIO()):
            pack(DataSettings(**IMAGES, size=max(32, crop + 8)), out)
    return out


def _train(settings: Settings, data: Path, state: Path, stops: Sequence[int] = ()) -> Run:
    """What a run comes to, resumed after some pauses."""
    Checkpoints(state).clear()
    for seed in (torch.manual_seed, np.random.seed, random.seed):  # what hangs on a global generator differs
        seed(os.getpid() + len(stops))
    pauses, numerics = count(1), configure(settings)
    while True:
        packed, checkpoints = Packed.open(data), Checkpoints(state)
        trainer = Trainer(
            settings, SEED, packed, numerics, checkpoints, math.inf, lambda row: None, lambda: next(pauses) in stops
        )
        with suppress(Interrupted):
            done = trainer.run()
            break
    return {
        "initial": trainer.initial, "batch_order": done.hashes["batch_order"],
        "augmentation": done.hashes["augmentation"], "losses": trainer.losses.astype("<f4").tobytes().hex(),
        "history": [[repr(v) for k, v in row.items() if k not in ("seconds", "time")] for row in done.history],
        "weights": hash_modules(trainer.net.state()), "velocities": hash_tensors(trainer.optimiser.velocities),
    }  # fmt: skip


def train_again() -> None:
    """The runs of a folder's jobs in this process."""
    folder = Path(sys.argv[1])
    runs = []
    for values, data in read_json(folder / "jobs.json"):
        with suppress(Exception):  # one that fails is reported of the watched run
            runs.append(_train(parse(Settings, recorded(values), "again"), Path(data), folder / "state-again"))
            continue
        runs.append({})
    write_json(folder / "again.json", runs)


def _result(process: subprocess.Popen[str], file: Path) -> Any:
    _, errors = process.communicate()
    if process.returncode:
        raise UserError(f"check-component: {(errors.strip().splitlines() or ['a run was ended'])[-1]}")
    return read_json(file)


def _differing(one: Run, other: Run) -> list[str]:
    """What of a run is not another's, in words: one entry, or none."""
    names = [name.replace("_", " ") for name in one if name in other and one[name] != other[name]]
    steps = zip(*(re.findall(".{8}", run["losses"]) for run in (one, other)), strict=False)
    step = next((f", from step {step} on" for step, pair in enumerate(steps, 1) if pair[0] != pair[1]), "")
    modules = [name for name, digest in one["weights"].items() if digest != other.get("weights", {}).get(name, digest)]
    where = f" (weights of {', '.join(modules)})" if modules else ""
    return [f"other {', '.join(names)}{step}{where}"] if names else []


def _default(name: str, data: Path, root: Path, folder: Path) -> list[str]:
    """What a setting changes of runs that do not use it: those on record, and one by the last known code."""
    record = next(root.glob("reports/*/runs/*/train/config.json"), None)
    if record and name not in LATER and name not in read_json(record)["settings"]:
        return ["harness/settings/schema.py: it is not in LATER: every run of before would become another"]
    known = read_known(root)
    if known.identity("train", digest("train", root)):
        return []
    if not (root / "tests/probes").is_dir():
        return ["the code is not proven; run in the repository: harness numerics prove"]
    sys.path.insert(0, str(root))
    from tests.probes.sides import commits, worktree

    settings = resolve(BASE | {key: value for key, value in LATER.items() if key == name}, "base")
    now, file, out = _train(settings, data, folder / "state"), folder / "before.json", folder / "before/made.json"
    out.parent.mkdir()  # it keeps its state there
    write_json(file, {"seed": SEED, **sparse(settings)})
    before = next(one for one in commits(root, folder) if known.identity("train", one.digests["train"]))
    with worktree(root, before.name, folder) as tree:
        words = ("-P", FIRST_EPOCHS, file, data, len(now["losses"]) // 8, settings.epochs, out)
        made = _result(start({}, *words, code=tree, caches=folder, quiet=True), out)
    return [
        f"{words} than commit {before.name[:12]}"
        for words in _differing(now, made["hashes"] | {"losses": made["losses"]})
    ]


def _watched(settings: Settings, data: Path, folder: Path) -> tuple[Run, Watch]:
    """What a run comes to, nothing where it fails; and what was seen of it."""
    watch = Watch()
    try:
        with watch.watching():
            return _train(settings, data, folder / "state"), watch
    except Exception as error:  # a component may raise whatever it likes
        watch.found["trains", place_of(error)] = f"{type(error).__name__}: {error}"
        return {}, watch


def _judged(name: str, settings: Settings, base: Settings, data: Path, folder: Path) -> tuple[Run, Found]:
    """A run that is not watched, and what was found in its watched twin and its resumed one."""
    run, watch = _watched(settings, data, folder)
    found: Found = {check: [] for check in CHECKS}
    for (check, place), words in watch.found.items():
        found[check].append(f"{place}: {words}")
    if not run:
        return run, found
    beside, other = _watched(base, data, folder)
    known = {function for drawn in other.drawn.values() for function in drawn}
    shared: dict[str, str] = {}
    for stream, drawn in watch.drawn.items():
        if len(drawn) > 1:
            for place in [place for function, place in drawn.items() if function not in known] or drawn.values():
                shared.setdefault(place, f"{place}: draws from another's stream: {stream}")
    found["streams"] = list(shared.values())
    for key, movers, sources in (
        ("batch_order", MOVES_ORDER, (randomness.BATCH_ORDER,)),
        ("augmentation", MOVES_DRAWS, randomness.VARIED["augmentation"]),
    ):
        if beside and run[key] != beside[key] and name not in movers | {"vary"}:
            by = {place for one, drawn in watch.drawn.items() if one.startswith(sources) for place in drawn.values()}
            found["streams"].append(f"{', '.join(sorted(by))}: the {key.replace('_', ' ')} is not the baseline's")
    # Under the dispatcher torch may take other kernels: bits are compared of runs that are not watched.
    run = _train(settings, data, folder / "state")
    found["resumes"] = _differing(run, _train(settings, data, folder / "state", STOPS))
    return run, found
