"""Where MLflow keeps its runs: the server or database that is asked for, else a SQLite file beside the repository."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from filelock import FileLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 5
"""How long a server may take to say that it is there."""


class TrackingDownError(Exception):
    """The tracking server does not answer; what was not published is published the next time."""


def home(root: Path) -> Path:
    """The repository, also for an experiment that DVC runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file at the repository's root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(root)}/mlflow.db"


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """A URI as it may be printed: without user and password."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


@contextmanager
def client(root: Path) -> Iterator[MlflowClient]:
    """A client of the store, with the store for itself: one publisher at a time on this machine.

    MLflow makes the tables of a new SQLite file without a lock, and two processes that do so at once destroy it; and
    two that look for a run before they make it would make it twice. Raises `TrackingDownError`.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow prints two lines a run, with the whole address of the server: its password too.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A server that went away in between is given up after one more try, not after minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri = tracking_uri(root)
    if is_server(uri):
        probe(uri)
    with FileLock(home(root) / ".mlflow.lock"):
        import logging

        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError

        for name in ("mlflow", "alembic"):  # how MLflow makes its tables is no news to a user
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            yield MlflowClient(uri)
        except (OSError, OperationalError) as error:
            raise TrackingDownError(shown(uri)) from error
        except MlflowException as error:
            if is_server(uri) and "Max retries exceeded" in str(error):
                raise TrackingDownError(shown(uri)) from error
            raise


def probe(uri: str) -> None:
    """Ask a server whether it is there. Raises `TrackingDownError` when it does not answer within some seconds."""
    try:
        # Any answer will do, a refusal for want of a password too: the client has its own ways to log in.
        urllib.request.urlopen(f"{shown(uri).rstrip('/')}/health", timeout=SECONDS)  # noqa: S310 - http by is_server
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError) as error:
        raise TrackingDownError(shown(uri)) from error


def experiment(client: MlflowClient, root: Path, name: str) -> str:
    """The id of a study's experiment, made where it is not there."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    # Without a place of their own a local store's artifacts would lie wherever the first publisher stood.
    place = None if is_server(tracking_uri(root)) else (home(root) / "mlartifacts" / name).as_uri()
    return str(client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"}))
