"""Where MLflow keeps its runs: the server or database that is asked for, else a SQLite file beside the repository."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from filelock import FileLock

from harness.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 5
"""How long a server or database may take to say that it is there."""

ENVIRONMENT = {
    # A server that goes away or hangs in between is given up after one more try; MLflow's own limits come to minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "PGCONNECT_TIMEOUT": str(SECONDS),
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Two lines a run, with the whole address of the server: its password too.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Set in the environment, where the user has set nothing else."""

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""What SQLAlchemy opens for MLflow."""

SECRET = re.compile("pass|pwd|secret|token|key")
"""In the name of an option of a URI: its value is not to be shown."""


class TrackingDownError(Exception):
    """The tracking server does not answer; what was not published is published the next time."""


def home(root: Path) -> Path:
    """The repository, also for an experiment that DVC runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file at the repository's root. Raises `UserError` for no address."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(root)}/mlflow.db"
    # MLflow would take it for a folder, and make one of that name.
    mistake = "@" in uri and "://" not in uri and not uri.startswith((".", "/", "file:"))
    try:
        _ = urlsplit(uri).port
    except ValueError:
        mistake = True  # a password with signs that are not escaped reads as host and port
    if mistake:
        raise UserError("MLFLOW_TRACKING_URI: not an address; SCHEME://USER:PASSWORD@HOST is allowed")
    return uri


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """A URI as it may be printed: without user and password, and without options, which may hold one."""
    scheme, _, rest = uri.partition("://")
    if scheme in ("sqlite", "file") or not rest:  # a path, which may hold an @
        return uri.partition("?")[0]
    return f"{scheme}://{re.split('[?&#]', rest.rpartition('@')[2])[0]}"


def without_secrets(text: str, uri: str) -> str:
    """What another program said, without what `shown` leaves out of the URI, as written there and as it reads."""
    address, _, options = uri.partition("?")
    login = "" if address.startswith(("sqlite:", "file:")) else address.partition("://")[2].rpartition("@")[0]
    user, _, password = login.partition(":")
    # A token may stand in the place of the user.
    secrets = [options, login, password or user, *(v for k, v in parse_qsl(options) if SECRET.search(k.lower()))]
    text = text.replace(uri, shown(uri))
    for secret in sorted({form for one in secrets for form in (one, unquote(one)) if form}, key=len, reverse=True):
        text = text.replace(f"{secret}@", "").replace(secret, "***")
    return text


@contextmanager
def client(root: Path) -> Iterator[MlflowClient]:
    """A client of the store, with the store for itself: one publisher at a time on this machine.

    MLflow makes the tables of a new SQLite file without a lock, and two processes that do so at once destroy it; and
    two that look for a run before they make it would make it twice. Raises `TrackingDownError` when a server or a
    database does not answer, `UserError` when it refuses or a file cannot be written.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri(root)
    import requests

    if is_server(uri):
        try:
            # Any answer will do, a refusal for want of a password too: the client has its own ways to log in.
            requests.get(f"{shown(uri).rstrip('/')}/health", timeout=SECONDS)
        except requests.RequestException as error:
            raise TrackingDownError(shown(uri)) from error
    with FileLock(home(root) / ".mlflow.lock"):
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import OperationalError, SQLAlchemyError

        for name in ("mlflow", "alembic"):  # how MLflow makes its tables is no news to a user
            logging.getLogger(name).setLevel(logging.WARNING)
        try:
            if uri.startswith(DATABASES):
                open_database(uri)
            yield MlflowClient(uri)
        except (requests.ConnectionError, requests.Timeout, OperationalError, MlflowException) as error:
            # A server that went away, and a database that does not answer or whose connection broke.
            gone = not isinstance(error, MlflowException) or (
                "Max retries exceeded" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE"
            )
            raise (
                TrackingDownError(shown(uri)) if gone and not uri.startswith("sqlite") else refused(uri, error)
            ) from error
        except (ImportError, SQLAlchemyError, OSError) as error:  # the first: a database's driver
            raise refused(uri, error) from error


def refused(uri: str, error: Exception) -> UserError:
    """One line of what MLflow, a database or a disk said, without the password."""
    message = without_secrets(next(iter(str(error).strip().splitlines()), "") or type(error).__name__, uri)
    return UserError(f"MLflow at {shown(uri)}: {message[:300]}")


def open_database(uri: str) -> None:
    """Open a database once, since MLflow itself tries for minutes; make a SQLite file that is not there."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url
    from sqlalchemy.pool import NullPool

    url = make_url(uri)
    place = url.database or ""
    named = url.get_backend_name() == "sqlite" and place and not place.startswith((":", "file:"))  # not in memory
    if named and not Path(place).exists():
        make_database(Path(place))
    else:
        inspect(create_engine(url, poolclass=NullPool)).get_table_names()


def make_database(place: Path) -> None:
    """Have MLflow make its tables in a file that takes its name when all of them are there.

    SQLite does not undo the making of a table: MLflow refuses a file for ever that it was killed in the midst of.
    """
    from mlflow import MlflowClient

    new = place.with_name(f"{place.name}.new")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
    new.replace(place)


def experiment(client: MlflowClient, root: Path, name: str) -> str:
    """The id of a study's experiment, made where it is not there. Raises `UserError` when it was deleted."""
    known = client.get_experiment_by_name(name)
    if known and known.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow at {shown(tracking_uri(root))}: experiment {name} was deleted there; "
            f"`mlflow experiments restore -x {known.experiment_id}` brings it back, `mlflow gc` deletes it for good"
        )
    if known:
        return str(known.experiment_id)
    # Without a place of their own a local store's artifacts would lie wherever the first publisher stood.
    place = None if is_server(tracking_uri(root)) else (home(root) / "mlartifacts" / name).as_uri()
    return str(client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"}))
