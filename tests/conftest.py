"""What the tests share: tiny settings, and packed images that are made once."""

import os
from pathlib import Path

# A worker a core, and a thread a worker: torch reads this when it is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest

from harness.data.pack import pack
from harness.settings.load import resolve
from harness.settings.schema import DataSettings, Settings
from tests.probes.factors import TINY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that run the real DVC, MLflow or whole studies come first: the last file runs alone while cores idle."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def tiny(**settings: object) -> Settings:
    """The tiny settings with some of them changed."""
    return resolve(TINY | settings, "tiny")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packed synthetic images: 3 channels, 32 x 32, 10 classes."""
    folder = tmp_path_factory.mktemp("packed") / "synthetic"
    pack(DataSettings(source="synthetic", train_limit=300, test_limit=100), folder)
    return folder
