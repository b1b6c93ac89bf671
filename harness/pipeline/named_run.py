"""The stages that train and evaluate one run: from its name to the folder of its records."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from harness import provenance, weights
from harness.commits import run_of
from harness.data.packed import Packed
from harness.data.store import images_of
from harness.errors import UserError
from harness.files import write_json
from harness.pipeline.checked import check_settings
from harness.pipeline.dvc_files import is_recorded
from harness.record import Config, Provenance, Run, RunFolder, read_run
from harness.settings.load import Named, find_study, lineage, load_study
from harness.settings.schema import Settings
from harness.settings.study import Cell, changed

HEADLINE = ("test_top1", "test_top1_10crop", "test_top5", "validation_top1", "train_top1", "test_loss")
"""The candidate's metrics for DVC, whose tables show every number that they are given."""


def train(
    named: Named,
    spec: str,
    seed: int | None,
    out: Path | None,
    data: Path | None,
    checkpoint_seconds: float,
    require_clean: bool | None,
    root: Path,
) -> None:
    """Train a run, which `spec` names: see `load_run`. Raises `UserError`, and `Interrupted` when it was stopped.

    `out`, `data`: folders of its records and of its packed images; by default its study's.
    """
    from harness.train.run import train as train_run

    seed = _seed(named, seed, spec)
    # The candidate is what code is tried with before it is committed.
    declared = lineage(named.study.path) if named.study and named.variant else {}
    provenance.check_clean(require_clean, declared)
    if named.study and os.environ.get("DVC_STAGE"):
        check_settings(named.study, named.variant, named.settings, seed, root)
    folder = out or _place(named, seed, spec).training
    packed = _images(named, data, spec, root)
    options = {"--seed": None if named.seed == seed else seed, "--out": out, "--data": data}
    command = f"python -m harness train {spec}" + "".join(
        f" {option} {value}" for option, value in options.items() if value is not None
    )
    start = _start(named.settings, seed, root)
    reuse = partial(_reuse, out=root / folder) if named.variant is not None and out is None else None
    train_run(named.settings, seed, packed, root / folder, checkpoint_seconds, command, start, reuse)


def evaluate(named: Named | None, spec: str, out: Path | None, seed: int | None, data: Path | None, root: Path) -> None:
    """Evaluate the run that `spec` names, or, without `named`, whose records lie in the folder `spec`.

    Raises `UserError`.
    """
    from harness.evaluate import evaluate as evaluate_run

    if named is None:
        if out is None or data is None:
            raise UserError(f"eval: {spec} is a folder: name the folder of the results, and --data with its images")
        evaluate_run(read_run(RunFolder(Path(spec), out)), spec, Packed.open(data), out)
        return
    folder = _place(named, _seed(named, seed, spec), spec)
    run = read_run(RunFolder(root / folder.training, root / folder.evaluation))
    images = _images(named, data, spec, root)
    metrics = evaluate_run(run, folder.training.parent.name, images, root / (out or folder.evaluation)).numbers
    if not named.variant and not out:
        headline = {name: metrics[name] for name in HEADLINE if name in metrics}
        write_json(root / folder.evaluation.with_name("headline.json"), headline)


def _seed(named: Named, seed: int | None, spec: str) -> int:
    chosen = named.seed if seed is None else seed
    if chosen is None:
        raise UserError(f"{spec}: --seed: missing; the run's seed is allowed")
    return chosen


def _place(named: Named, seed: int, spec: str) -> RunFolder:
    """Where the records of a study's run lie, relative to the repository."""
    if named.study is None:
        raise UserError(f"{spec}: --out: missing, and it belongs to no study; name the folder of its records")
    study = named.study
    return RunFolder.of(Cell(study.name, named.variant, seed).results if named.variant else study.candidate_results)


def _images(named: Named, data: Path | None, spec: str, root: Path) -> Packed:
    if data is not None:
        return Packed.open(data)
    if named.study is None:
        raise UserError(f"{spec}: --data: missing, and it belongs to no study; name the folder of its images")
    return images_of(named.study, root)


def _start(settings: Settings, seed: int, root: Path) -> tuple[Run, dict[str, Tensor]] | None:
    """The run that `pretrained` names, of the same seed, and its weights."""
    if not settings.pretrained:
        return None
    name, _, variant = settings.pretrained.partition("/")
    study = load_study(find_study(Path(name), root))
    folder = RunFolder.of(root / Cell(name, variant, seed).results)
    if not folder.config.exists():
        raise UserError(f"pretrained: {folder.training}: no run is there; run: harness run {name}")
    run = read_run(folder)
    loaded, digest = weights.ensure(run, f"{settings.pretrained}-{seed}", images_of(study, root))
    if digest != run.hashes.weights:
        raise UserError(f"pretrained: {settings.pretrained}-{seed}: its weights cannot be had here as recorded")
    return run, loaded


def _reuse(config: Config, machine: dict[str, Any], out: Path) -> str:
    """Put the records of an equal run in `out`: those of the last commit, or of a run whose weights are here.

    Says whose they are; '' where there is none, and where DVC has this very run on record and runs it all the same: it
    was told to.
    """
    if is_recorded():
        return ""
    # The last commit may have a run of another version, and there may be none.
    with suppress(UserError), run_of("HEAD", Path(os.path.relpath(out.parent)), Path(".")) as run:
        if run and run.fingerprint == config.fingerprint and not changed(run.settings, config.settings):
            weights.copy_records(run.folder, out, run.provenance.reused_from)
            return "restored from the last commit: the same settings, seed, images and code"
    entry = weights.find(config, machine, provenance.versions()["torch"])
    if entry is None or changed(Config.read(entry.config).settings, config.settings):
        return ""
    stage = Provenance.read(entry.provenance).dvc_stage
    weights.copy_records(entry, out, None if stage == os.environ.get("DVC_STAGE") else stage)
    return f"is a run that was made before ({stage or entry.training}): the same settings, seed, images and code"
