"""MLflow's interface on this machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO

from harness.errors import UserError
from harness.progress import say
from harness.settings.study import Study
from harness.tracking.database import is_server, shown, tracking_uri, without_secrets
from harness.tracking.publish import Publication
from harness.tracking.views import links

HOST = "127.0.0.1"
"""MLflow's server has no password: it is not offered to the network."""

READY = 300.0
"""Seconds in which the server must answer; it takes about five when the machine is idle."""


def serve(study: Study, published: Publication, root: Path, port: int) -> None:
    """Start the interface, print its links, and stay until Ctrl-C. With a server given, print its links alone.

    Raises `UserError` when the port is in use, and when the server does not start or ends by itself.
    """
    uri = tracking_uri(root)
    if is_server(uri):
        _print(shown(uri).rstrip("/"), study, published)
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(f"--port: {port} cannot be used ({error.strerror}); take another") from error
    # Ctrl-C, `kill` and a closed terminal end the server, which would otherwise keep its port; also where Ctrl-C is
    # ignored, as in a background job of a script.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryFile() as log, suppress(KeyboardInterrupt):
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
        environment = {
            **os.environ,
            # In the environment and not on the command line, where everybody on the machine could read a password.
            "MLFLOW_BACKEND_STORE_URI": uri,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves a dozen processes
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        # In a session of its own: Ctrl-C reaches this process alone, which ends the server and its workers.
        server = subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait(server, port, log, uri)
            _print(f"http://{HOST}:{port}", study, published)
            say("Ctrl-C ends it.")
            server.wait()
            raise UserError(f"mlflow server: ended by itself: {_last_line(log, uri)}")
        finally:
            _stop(server)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: IO[bytes], uri: str) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(f"mlflow server: ended before it answered: {_last_line(log, uri)}")
        with suppress(OSError):
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1)
            return
        time.sleep(0.2)
    raise UserError(f"mlflow server: no answer within {READY:.0f} s")


def _last_line(log: IO[bytes], uri: str) -> str:
    """What a server said last, without the password of its store."""
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return without_secrets(lines[-1], uri) if lines else "it said nothing"


def _print(base: str, study: Study, published: Publication) -> None:
    for name, link in links(base, published.experiment, published.execution, f"{study.name}.html").items():
        say(f"{name + ':':<12}{link}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers, undisturbed by a second Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ProcessLookupError):
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(server.pid, number)
            with suppress(subprocess.TimeoutExpired):
                server.wait(10)
