"""MLflow's interface on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType

from harness.errors import UserError
from harness.progress import say
from harness.settings.study import Study
from harness.tracking.publish import Published
from harness.tracking.store import is_server, shown, tracking_uri
from harness.tracking.views import links

HOST = "127.0.0.1"
"""MLflow's server has no password: it is not offered to the network."""

READY = 120.0
"""Seconds in which the server must answer; it takes some five when the machine is idle."""


def serve(study: Study, published: Published, root: Path, port: int) -> None:
    """Start the interface, print its links, and stay until Ctrl-C. With a server given, print its links alone.

    Raises `UserError` when the port is in use or the server does not start.
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
    server = _start(uri, port)
    try:
        _wait(server, port)
        _print(f"http://{HOST}:{port}", study, published)
        say("Ctrl-C ends it.")
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        _stop(server)


def _start(uri: str, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {
        **os.environ,
        # In the environment and not on the command line, where everybody on the machine could read a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # saves a dozen processes
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    server = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    return server


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + READY
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UserError(f"mlflow server: ended with status {server.returncode} before it answered")
        try:
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=1)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise UserError(f"mlflow server: no answer within {READY:.0f} s")


def _print(base: str, study: Study, published: Published) -> None:
    for name, link in links(base, published.experiment, published.execution, f"{study.name}.html").items():
        say(f"{name + ':':<12}{link}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """End the server and its workers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            return
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            continue
