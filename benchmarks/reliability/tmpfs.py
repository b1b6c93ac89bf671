"""A real file system that is too small, where this machine lets one be mounted."""

import ctypes
import json
import os
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.reliability.disk import KIND
from benchmarks.reliability.forks import failure, fork, fork_call, training, wait
from benchmarks.reliability.tally import Tally
from benchmarks.reliability.variants import run_proof, write_settings
from harness.settings.schema import Settings


def small_disk(
    tally: Tally, settings: Settings, first: dict[str, str], images: Path, folder: Path, rng: Random, times: int
) -> None:
    """The same on a tmpfs that is too small, where this machine lets one be mounted; else nothing is counted."""
    folder.mkdir()
    file = write_settings(folder, "settings", settings)
    for number in range(times):
        result = folder / f"{number}.json"
        size = rng.randrange(1, 1024) * 4096

        def scenario(place: Path = folder / f"{number}", result: Path = result, size: int = size) -> int:
            if not _mount_tmpfs(place, size):
                return 77
            words = training(file, images)
            status = wait(fork(words, place, result.with_suffix(".log")))
            if status == 0:
                return 78  # it was large enough
            said = failure(result.with_suffix(".log")) if status == 2 else f"exit status {status}"
            _mount_tmpfs(place, 2**30, remount=True)
            status = wait(fork(words, place, result.with_suffix(".again")))
            found = {} if status else run_proof(place / "made/x")
            result.write_text(json.dumps({"said": said, "status": status, "found": found}))
            return 0

        status = wait(fork_call(scenario, folder, folder / f"{number}.out"))
        if status in (77, 78):
            continue
        told: dict[str, Any] = (
            json.loads(result.read_text()) if status == 0 else {"said": "the trial failed", "status": 1, "found": {}}
        )
        apart = [part for part, value in told["found"].items() if first[part] != value]
        why = told["said"] or (f"then status {told['status']}" if told["status"] else "") or ", ".join(apart)
        tally.add(KIND, "a tmpfs that is too small", not why, why, note=MOUNTED)


MOUNTED = "a real file system of 4 KiB to 4 MiB, mounted for the trial; then made larger, and the same command goes on"


def _mount_tmpfs(place: Path, size: int, remount: bool = False) -> bool:
    """Mount a tmpfs for this process and its children alone; False where that is not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_mounts, remounted, private, recursive = 0x10000000, 0x00020000, 32, 1 << 18, 16384
    if not remount:
        place.mkdir()
        user, group = os.getuid(), os.getgid()
        if libc.unshare(new_user | new_mounts):
            return False
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
        libc.mount(b"none", b"/", None, private | recursive, None)
    options = f"size={size}".encode()
    return not libc.mount(b"none", bytes(place), b"tmpfs", remounted if remount else 0, options)
