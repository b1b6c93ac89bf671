"""A program of its own: runs probes on changed copies of the package, a child process each; torch is imported once.

    python -P tests/mutants.py JOBS.json

JOBS is a list of {tree, table, probes, out}: the folder that holds a copy of the package, the table, the names of
the probes and the file that their outcomes go to. Nothing of the package is imported before the fork.
"""

import importlib
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path

SHARED = (
    "torch", "numpy", "pydantic", "PIL.Image", "PIL.ImageOps", "pyarrow.parquet", "safetensors.torch", "filelock",
    "ruamel.yaml", "pandas", "numpy.random", "pydantic.main", "pydantic.type_adapter", "torch._dynamo",
    "torchvision.datasets",
)  # fmt: skip


def run(tree: str, table: str, probes: list[str], out: str) -> None:
    """Run probes on the copy in `tree`, in this process."""
    sys.path[:0] = [tree, str(Path(__file__).parent.parent)]
    sys.dont_write_bytecode = True
    assert str(importlib.import_module("harness").__file__).startswith(tree)
    module = importlib.import_module("tests.probes.run")
    values = json.loads(Path(table).read_text())
    outcomes = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        os.environ["DVC_ROOT"] = scratch
        runner = module.Runner(values["images"], Path(table).parent, Path(scratch))
        for probe in values["probes"]:
            if probe["name"] in probes:
                outcomes[probe["name"]] = runner.run(probe)
        os.chdir("/")
    Path(out).write_text(json.dumps(outcomes))


def preload() -> None:
    """Import what is slow, that which torch and Pillow import on first use included."""
    for name in SHARED:
        importlib.import_module(name)
    import torch
    from PIL import Image

    torch.use_deterministic_algorithms(True)
    Image.init()


def main(jobs: Path) -> None:
    preload()
    for job in json.loads(jobs.read_text()):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            continue
        try:
            run(**job)
        except BaseException:
            Path(job["out"]).write_text(json.dumps({"failed": traceback.format_exc()}))
        finally:
            os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
