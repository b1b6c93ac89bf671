"""The portable bits: equal whatever the environment says and whichever processor computes, and on record."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import bits, process
from harness.files import write_json
from harness.process import LIMITS, PORTABLE
from harness.settings.schema import LATER, Settings, recorded, sparse
from harness.verify.rerun import machine_bits
from tests.conftest import tiny

ROOT = Path(__file__).parents[1]

PROBE = "from harness.process import hold; hold('portable'); from harness import bits; print(bits.text(bits.probe()))"

HOSTILE = {
    "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AVX2", "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "2", "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
}  # fmt: skip
"""What a user's environment may say, which would give other bits."""

needs_avx2 = pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="this processor has no AVX2")


def python(*words: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, text=True, capture_output=True, check=True,
        env={k: v for k, v in os.environ.items() if k not in PORTABLE} | environment,
    )  # fmt: skip
    assert not done.stderr
    return done.stdout.strip()


@needs_avx2
def test_a_process_that_is_held_gives_the_bits_on_record_whatever_its_environment_says() -> None:
    found = [python("-c", PROBE, environment=values) for values in ({}, HOSTILE)]
    version = torch.__version__.partition("+")[0]
    if os.environ.get("HARNESS_GOLDEN") == "write":
        known = json.loads(bits.FILE.read_text()) | {version: dict(pair.split(":") for pair in found[0].split())}
        write_json(bits.FILE, known)
    assert found[0] == found[1]
    if version not in json.loads(bits.FILE.read_text()):
        pytest.skip(f"no bits are on record for torch {version}")
    assert bits.differing(found[0], bits.known(torch.__version__) or {}) == []
    native = python("-c", PROBE.replace("'portable'", "'native'"), environment=HOSTILE)
    assert "convolution" in bits.differing(found[0], dict(pair.split(":") for pair in native.split()))


@needs_avx2
def test_a_run_with_portable_bits_comes_out_the_same_in_every_environment(packed: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "settings.json", sparse(tiny(bits="portable", epochs=1)))
    made = []
    for name, values in {"plain": {}, "hostile": HOSTILE | {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}}.items():
        out = tmp_path / name
        words = ["-m", "harness", "train", str(tmp_path / "settings.json"), "--seed", "0"]
        environment = values | {"DVC_ROOT": str(tmp_path / f"caches-{name}")}
        python(*words, "--out", str(out), "--data", str(packed), environment=environment)
        record = json.loads((out / "provenance.json").read_text())
        made.append((record["hashes"], record["machine"]["bits"]))
        assert record["machine"]["instructions"] == "AVX2"
    assert made[0] == made[1]


EMULATED = """
import sys; sys.path[:0] = {paths}
from harness.cli import main; main()
"""


@pytest.mark.nightly
@pytest.mark.parametrize("processor", ["Haswell-v4", "EPYC-Rome"])  # one of Intel's, one of AMD's
def test_a_run_with_portable_bits_comes_out_the_same_on_another_processor(
    processor: str, packed: Path, tmp_path: Path
) -> None:
    if not (emulator := shutil.which("qemu-x86_64")):
        pytest.skip("qemu-x86_64 is not installed (Debian: qemu-user)")
    (tmp_path / "main.py").write_text(EMULATED.format(paths=[str(ROOT), *(p for p in sys.path if "packages" in p)]))
    write_json(tmp_path / "settings.json", sparse(tiny(bits="portable", epochs=1)))
    interpreter = os.path.realpath(sys.executable)
    records = []
    for start in ([interpreter], [emulator, "-cpu", processor, interpreter]):
        out, results = tmp_path / f"run-{len(records)}", tmp_path / f"results-{len(records)}"
        environment = os.environ | {"DVC_ROOT": str(tmp_path / f"caches-{len(records)}")}
        for words in (
            ["train", tmp_path / "settings.json", "--seed", "0", "--out", out, "--data", packed],
            ["eval", out, results, "--data", packed],
        ):
            subprocess.run([*start, tmp_path / "main.py", *map(str, words)], cwd=ROOT, env=environment, check=True)
        hashes = json.loads((out / "provenance.json").read_text())["hashes"]
        records.append((hashes, (results / "metrics.json").read_text(), (results / "predictions.parquet").read_bytes()))
    assert records[0] == records[1]


FIRST_CALL = """
import sys, hashlib, torch
from harness.numerics import configure
from harness.settings.schema import Settings
configure(Settings(device="cpu", threads=2))
values = torch.rand(400_000) + 0.5
for name in ("sqrt", "exp", "log", "tanh"):
    first, second = (getattr(torch, name)(values) for _ in range(2))
    assert torch.equal(first, second), name
"""


def test_the_first_call_of_a_vector_function_has_the_bits_of_the_second() -> None:
    for _ in range(3):
        python("-c", FIRST_CALL, environment={})


def test_holding_a_process_is_undone_for_the_programs_that_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PORTABLE:
        monkeypatch.setenv(name, "")  # so that it is taken back at the end
        monkeypatch.delenv(name)
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setattr(process, "_ambient", {})
    before = dict(os.environ)
    process.hold("native")
    assert os.environ == before
    process.hold("portable")
    assert {name: os.environ[name] for name in PORTABLE} == PORTABLE
    process.hold("portable")
    assert process.ambient() == before


def test_the_portable_bits_of_response_normalisation_are_as_near_to_the_truth() -> None:
    from harness.net.layout import Norm
    from harness.net.lrn import response_norm

    x = torch.from_numpy(np.random.default_rng(0).normal(0, 60, (4, 16, 9, 9)).astype(np.float32))
    exact = response_norm(x.double(), Norm(5, 1e-4, 0.75, 2.0))
    for portable in (False, True):
        error = (response_norm(x, Norm(5, 1e-4, 0.75, 2.0, portable=portable)) - exact).abs() / exact.abs()
        assert error.max() < 4e-7


def test_kinds_of_layers_whose_bits_differ_are_named() -> None:
    assert bits.differing("linear:aa loss:bb", {"linear": "aa", "loss": "cc", "draws": "dd"}) == ["loss"]
    assert bits.differing("", {"linear": "aa"}) == []
    assert set(bits.probe()) == set(bits.KINDS)


def test_records_of_before_the_setting_are_of_native_bits() -> None:
    assert Settings(**recorded({})).bits == "native"
    assert LATER["bits"] == "native"
    assert Settings().bits == "portable"
    assert "bits" not in sparse(Settings(bits="native"))
    assert sparse(Settings())["bits"] == "portable"
    assert set(LIMITS["AVX2"]) - {"MKL_ENABLE_INSTRUCTIONS"} < set(PORTABLE)


def test_doctor_says_whether_this_machine_gives_the_portable_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = dict.fromkeys(bits.KINDS, "0" * bits.LENGTH)
    monkeypatch.setattr(bits, "known", lambda version: expected)
    monkeypatch.setattr(bits, "probe", lambda: expected)
    assert machine_bits().startswith("bits: portable: yes")
    monkeypatch.setattr(bits, "probe", lambda: expected | {"linear": "1" * 8, "loss": "2" * 8})
    assert re.match(r"bits: portable: no, .* linear, loss ", machine_bits())
    monkeypatch.setattr(bits, "known", lambda version: None)
    assert "none on record" in machine_bits()
