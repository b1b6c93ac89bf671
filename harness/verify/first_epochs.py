"""A program of its own, run with the code of any commit: the first steps of a run, and its streams of draws in full.

    python -P first_epochs.py SETTINGS DATA STEPS EPOCHS OUT

SETTINGS is JSON: a run's settings and its seed. It trains the STEPS first steps, and draws batch order and
augmentation of all EPOCHS, which costs no training. OUT is written as JSON.
"""

import contextlib
import json
import math
import sys
from pathlib import Path


def main(settings_file: Path, data: Path, steps: int, epochs: int, out: Path) -> None:
    """Make the steps and write what they came to; whatever goes wrong is the caller's to tell."""
    values = json.loads(settings_file.read_text(encoding="utf-8"))
    # Of the code that is looked at, which is not the one that this file belongs to.
    if values.get("bits") == "portable":  # before torch is imported
        from harness.process import hold

        hold("portable")
    from harness import provenance
    from harness.data.packed import Packed
    from harness.numerics import configure
    from harness.record import chain
    from harness.settings.parse import parse
    from harness.settings.schema import Settings
    from harness.train.checkpoint import Checkpoints
    from harness.train.loop import Interrupted, Trainer

    try:
        from harness.identity.known import identity
    except ModuleNotFoundError:  # code of before identities
        from harness.record import code_hash  # type: ignore[attr-defined]

        code = code_hash()
    else:
        code = identity("train")
    seed = values.pop("seed")
    settings = parse(Settings, values, str(settings_file))
    numerics = configure(settings)
    packed = Packed.open(data)

    def enough() -> bool:
        # At the end of an epoch its row is made as well.
        return (
            trainer.state.epoch - 1
        ) * batches.steps + trainer.state.step >= steps and trainer.state.step < batches.steps

    checkpoints = Checkpoints(out.parent / "state")
    trainer = Trainer(settings, seed, packed, numerics, checkpoints, math.inf, lambda row: None, enough)
    batches = trainer.batches
    with contextlib.suppress(Interrupted):
        trainer.run()
    order = augmentation = ""
    for epoch in range(1, epochs + 1):
        order = chain(order, batches.order(epoch).tobytes())
        for step in range(batches.steps):
            count = min(settings.batch, batches.images.count - step * settings.batch)
            augmentation = batches.draw(epoch, step, count).hashed(augmentation)
    made = {
        "hashes": {
            "data": packed.manifest.hash,
            "code": code,
            "initial": trainer.initial,
            "batch_order": order,
            "augmentation": augmentation,
        },
        "history": trainer.state.history,
        "losses": trainer.losses[:steps].astype("<f4").tobytes().hex(),
        "machine": provenance.machine(numerics.device, settings.threads),
        "versions": provenance.versions(),
        **provenance.source(),
    }
    out.write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
