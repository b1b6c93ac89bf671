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
from harness.progress import say

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


ARTIFACTS = "mlartifacts"
"""Folder of a local store's artifacts, beside its SQLite file."""

COLUMNS = (("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location"))
"""Where MLflow keeps whole paths: tables and columns."""


def home(root: Path) -> Path:
    """The repository, also for an experiment that DVC runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve()


def tracking_uri(root: Path) -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file at the repository's root. Raises `UserError` for no address."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip() or sqlite_uri(home(root) / "mlflow.db")
    # MLflow would take it for a folder, and make one of that name.
    mistake = "@" in uri and "://" not in uri and not uri.startswith((".", "/", "file:"))
    try:
        _ = urlsplit(uri).port
    except ValueError:
        mistake = True  # a password with signs that are not escaped reads as host and port
    if mistake:
        raise UserError("MLFLOW_TRACKING_URI: not an address; SCHEME://USER:PASSWORD@HOST is allowed")
    if uri in ("sqlite://", "sqlite:///", "sqlite:///:memory:"):
        raise UserError(f"MLFLOW_TRACKING_URI: got {uri}, which keeps nothing; sqlite:///PATH is allowed")
    return uri


def sqlite_uri(place: Path) -> str:
    """The address of a SQLite file, whose path may have any sign in it."""
    from sqlalchemy.engine import URL

    uri = URL.create("sqlite+pysqlite", database=str(place)).render_as_string(hide_password=False)
    # Of an address that begins with sqlite: MLflow makes the folder as it is written, %3F in the place of a ?.
    return uri.replace("+pysqlite", "", 1) if str(place) in uri else uri


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for other addresses, and for one in memory."""
    from sqlalchemy.engine import make_url

    url = make_url(uri) if uri.startswith(DATABASES) else None
    named = url and url.get_backend_name() == "sqlite" and url.database
    return Path(named) if named and not named.startswith((":", "file:")) else None


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def shown(uri: str) -> str:
    """A URI as it may be printed: without user and password, and without options, which may hold one."""
    scheme, _, rest = uri.partition("://")
    if scheme.startswith(("sqlite", "file")) or not rest:  # a path, which may hold an @
        return uri.partition("?")[0]
    return f"{scheme}://{re.split('[?&#]', rest.rpartition('@')[2])[0]}"


def without_secrets(text: str, uri: str) -> str:
    """What another program said, without what `shown` leaves out of the URI, as written there and as it reads."""
    address, _, options = uri.partition("?")
    login = "" if address.startswith(("sqlite", "file:")) else address.partition("://")[2].rpartition("@")[0]
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
    two that look for a run before they make it would make it twice. Raises `UserError` when a server or a database does
    not answer or refuses, and when a file cannot be written.
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
            raise silent(uri) from error
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    for name in ("mlflow", "alembic"):  # how MLflow makes its tables is no news to a user
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with FileLock(home(root) / ".mlflow.lock", fallback_to_soft=False):
            if uri.startswith(DATABASES):
                open_database(uri, root)
            yield MlflowClient(uri)
    except (requests.ConnectionError, requests.Timeout, OperationalError, MlflowException) as error:
        # A server that went away, and a database that does not answer or whose connection broke.
        gone = not isinstance(error, MlflowException) or (
            "Max retries exceeded" in str(error) or error.error_code == "TEMPORARILY_UNAVAILABLE"
        )
        raise silent(uri) if gone and not uri.startswith("sqlite") else refused(uri, error) from error
    except (ImportError, SQLAlchemyError, OSError) as error:  # the first: a database's driver
        raise refused(uri, error) from error


def silent(uri: str) -> UserError:
    return UserError(
        f"MLflow at {shown(uri)}: does not answer; start it, or unset MLFLOW_TRACKING_URI for the local store"
    )


def refused(uri: str, error: Exception) -> UserError:
    """One line of what MLflow, a database or a disk said, without the password."""
    message = without_secrets(next(iter(str(error).strip().splitlines()), "") or type(error).__name__, uri)
    return UserError(f"MLflow at {shown(uri)}: {message[:300]}")


def open_database(uri: str, root: Path) -> None:
    """Open a database once, since MLflow itself tries for minutes; make a SQLite file that is not there.

    One that was moved or copied is to keep its artifacts beside itself, which is said: MLflow keeps whole paths, and
    would make the old folder anew, or write into the repository that was copied. The file of another folder, which
    several repositories may share, stays as it is while its artifacts are where it says.
    """
    from sqlalchemy import String, column, create_engine, func, inspect, select, table, update
    from sqlalchemy.pool import NullPool

    engine, place = create_engine(uri, poolclass=NullPool), sqlite_file(uri)
    if place is None:
        inspect(engine).get_table_names()
        return
    if not place.exists():
        make_database(place)
    here = place.resolve().parent
    names, locations = column("name", String()), column("artifact_location", String())
    with engine.begin() as rows:
        known = rows.execute(select(names, locations).select_from(table("experiments", names, locations)))
        ends = {at: f"/{ARTIFACTS}/{name}" for name, at in known if at and path_of(at)}
        old = {at.removesuffix(end) for at, end in ends.items() if at.endswith(end)}
        for prefix in sorted(old - {here.as_uri()}):
            if here != home(root) and os.path.exists(path_of(prefix)):
                continue
            # Experiments that MLflow or its user made beside have plain paths.
            for start, new in ((prefix, here.as_uri()), (path_of(prefix), str(here))):
                for name, key in COLUMNS:
                    at = column(key, String())
                    moved = func.substr(at, 1, len(start) + 1) == f"{start}/"
                    changed = update(table(name, at)).where(moved).values({at: new + func.substr(at, len(start) + 1)})
                    rows.execute(changed)
            say(f"MLflow: {place}: came from {path_of(prefix)}; its artifacts are now those beside it")


def path_of(location: str) -> str:
    """The path of a folder on this machine that MLflow keeps as a URI or as a path; '' for one elsewhere."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location * location.startswith("/")


def make_database(place: Path) -> None:
    """Have MLflow make its tables in a file that takes its name when all of them are there.

    SQLite does not undo the making of a table: MLflow refuses a file for ever that it was killed in the midst of.
    """
    from mlflow import MlflowClient

    new = place.with_name(f"{place.name}.new")
    for left in (new, new.with_name(f"{new.name}-journal")):
        left.unlink(missing_ok=True)
    MlflowClient(sqlite_uri(new)).search_experiments(max_results=1)
    new.replace(place)


def experiment(client: MlflowClient, root: Path, name: str) -> str:
    """The id of a study's experiment, made where it is not there. Raises `UserError` when it was deleted."""
    known = client.get_experiment_by_name(name)
    if known and known.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow at {shown(tracking_uri(root))}: experiment {name} was deleted there; "
            f"`mlflow experiments restore -x {known.experiment_id}` brings it back, `mlflow gc` deletes it for good"
        )
    uri = tracking_uri(root)
    if known:
        kept = path_of(known.artifact_location)
        if kept and not is_server(uri) and not (above := Path(kept).parents[1]).is_dir():
            raise UserError(
                f"MLflow at {shown(uri)}: experiment {name} keeps its artifacts in {above}, which is not there"
            )
        return str(known.experiment_id)
    # Without a place of their own a local store's artifacts would lie wherever the first publisher stood.
    file = sqlite_file(uri)
    folder = file.resolve().parent if file else home(root)
    place = None if is_server(uri) else (folder / ARTIFACTS / name).as_uri()
    return str(client.create_experiment(name, place, {"mlflow.experimentKind": "custom_model_development"}))
