"""Reliability, tried and counted: the same bits under other circumstances, after kills, with a full disk, on bad input.

`nox -s reliability` runs all of it (`python -m benchmarks.reliability`) and writes reports/reliability.md and .csv;
`--sample` is a small part, which the tests run.
"""

import os

# One thread a process, before torch is imported: a process that forks must have no others.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
