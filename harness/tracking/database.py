"""Where MLflow keeps its runs: the server or database that is asked for, else a SQLite file beside the repository."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
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
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return f"sqlite:///{home(root)}/mlflow.db"
    try:
        address = urlsplit(given)
        _ = address.port
    except ValueError as error:
        # The address is not repeated: a password with signs that were not escaped reads as host and port.
        raise UserError("MLFLOW_TRACKING_URI: not an address; its host or port cannot be read") from error
    path = given.startswith((".", "/")) or address.scheme.partition("+")[0] in ("sqlite", "file")
    if "@" in given and not address.netloc and not path:
        # MLflow would take it for a folder, and make one of that name.
        raise UserError("MLFLOW_TRACKING_URI: not an address; SCHEME://USER:PASSWORD@HOST is allowed")
    return given


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """A URI as it may be printed: without user and password, and without options, which may hold one."""
    scheme, mark, rest = uri.partition("://")
    if not mark:
        return uri
    if scheme in ("sqlite", "file"):  # a path, which may hold an @
        return uri.partition("?")[0]
    return f"{scheme}://{re.split('[?&#]', rest.rpartition('@')[2])[0]}"


def without_secrets(text: str, uri: str) -> str:
    """What another program said, without what `shown` leaves out of the URI, as written there and as it reads."""
    if shown(uri) == uri:
        return text
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
    if is_server(uri):
        probe(uri)
    with FileLock(home(root) / ".mlflow.lock"):
        import logging

        import requests
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        for name in ("mlflow", "alembic"):  # how MLflow makes its tables is no news to a user
            logging.getLogger(name).setLevel(logging.WARNING)
        if uri.partition(":")[0].partition("+")[0] in DATABASES:
            probe_database(uri)
        try:
            if (place := _sqlite_file(uri)) and not place.exists():
                _make_database(place)
            yield MlflowClient(uri)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise TrackingDownError(shown(uri)) from error
        except MlflowException as error:
            # The second: a database whose connection broke.
            gone = "Max retries exceeded" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE"
            if gone and not uri.startswith("sqlite"):
                raise TrackingDownError(shown(uri)) from error
            raise _refused(uri, error) from error
        except (SQLAlchemyError, OSError) as error:
            raise _refused(uri, error) from error


def _refused(uri: str, error: Exception) -> UserError:
    """One line of what MLflow, a database or a disk said, without the password."""
    said = without_secrets(next(iter(str(error).strip().splitlines()), "") or type(error).__name__, uri)
    return UserError(f"MLflow at {shown(uri)}: {said[:300]}")


def probe(uri: str) -> None:
    """Ask a server whether it is there. Raises `TrackingDownError` when it does not answer within some seconds."""
    try:
        # Any answer will do, a refusal for want of a password too: the client has its own ways to log in.
        urllib.request.urlopen(f"{shown(uri).rstrip('/')}/health", timeout=SECONDS)  # noqa: S310 - http by is_server
    except urllib.error.HTTPError:
        return
    except (OSError, ValueError, http.client.HTTPException) as error:
        # The last: what answers there is no HTTP server, or the address holds a space.
        raise TrackingDownError(shown(uri)) from error


def probe_database(uri: str) -> None:
    """Open a database once: MLflow itself tries for minutes. Raises `TrackingDownError` and `UserError`."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import OperationalError, SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        address = make_url(uri)
        sqlite = address.get_backend_name() == "sqlite"
        if sqlite and not Path(address.database or "").exists():
            return  # it is made by MLflow, later
        inspect(create_engine(address, poolclass=NullPool)).get_table_names()
    except ImportError as error:
        raise UserError(f"MLFLOW_TRACKING_URI: {shown(uri)}: its driver is not installed: {error}") from error
    except OperationalError as error:
        if sqlite:
            raise _refused(uri, error) from error
        raise TrackingDownError(shown(uri)) from error
    except SQLAlchemyError as error:
        raise _refused(uri, error) from error


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for another store, and for one in memory."""
    scheme, _, database = uri.partition("?")[0].partition(":///")
    named = scheme.partition("+")[0] == "sqlite" and database and not database.startswith((":", "file:"))
    return Path(database) if named else None


def _make_database(place: Path) -> None:
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
    found = client.get_experiment_by_name(name)
    if found and found.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow at {shown(tracking_uri(root))}: experiment {name} was deleted there; "
            f"`mlflow experiments restore -x {found.experiment_id}` brings it back, `mlflow gc` deletes it for good"
        )
    if found:
        return str(found.experiment_id)
    # Without a place of their own a local store's artifacts would lie wherever the first publisher stood.
    place = None if is_server(tracking_uri(root)) else (home(root) / "mlartifacts" / name).as_uri()
    return str(client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"}))
