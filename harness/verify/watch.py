"""Watches a run for what it may not do, by file and line.

Python's profiler sees every call of time, os and random; torch's dispatcher every random operation with its generator;
an audit hook every file that is opened.
"""

from __future__ import annotations

import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from traceback import extract_tb
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness import randomness
from harness.identity.code import PACKAGE, ROOT

CLOCKS = ("Trainer._clock", "Trainer.run", "Trainer._steps")
"""Functions that measure how long a run takes."""

PASSING = ("stream", "TrainingBatches._stream", "Packed.part", "_map", "Images.__init__", "configure")
"""Functions that do what their caller asks for: it is named. `configure` imports, which may ask for entropy."""

_FOLDER = f"{ROOT / PACKAGE}{os.sep}"
_OURS = (__file__, str(Path(__file__).with_name("component.py")))
_watch: Watch | None = None


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """`found`: (check, file and line) -> words. `drawn`: stream -> who drew from it: function -> file and line."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: dict[tuple[str, str], str] = {}
        self.drawn: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._streams: dict[int, str] = {}

    def note(self, check: str, words: str, frame: FrameType | None) -> None:
        """Note what the innermost function of the package around `frame` does."""
        if place := _place(frame):
            self.found.setdefault((check, place[1]), words)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        unreal = args and isinstance(args[0], torch.Tensor) and args[0].is_meta  # a module that is not filled yet
        if not unreal and torch.Tag.nondeterministic_seeded in func.tags and (place := _place(sys._getframe(1))):
            generator = next((one for one in (*args, *kwargs.values()) if isinstance(one, torch.Generator)), None)
            if generator and (stream := self._streams.get(generator.initial_seed())):
                self.drawn[stream].setdefault(*place)
            else:
                kind = "a generator that is no stream of randomness.py" if generator else "torch's global generator"
                self.found.setdefault(("random numbers", place[1]), f"{kind} ({func})")
        return func(*args, **kwargs)

    def _called(self, frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or frame.f_code.co_filename in _OURS:
            return
        name, owner = function.__name__, getattr(function, "__self__", None)
        direct = frame.f_code.co_filename.startswith(_FOLDER) and frame.f_code.co_qualname not in CLOCKS
        if owner is random._inst and name != "seed":
            self.note("random numbers", f"the global generator of random ({name})", frame)
        elif name == "urandom":
            self.note("random numbers", "the operating system's random numbers (urandom)", frame)
        elif direct and (name in ("getpid", "getppid", "now", "today", "utcnow") or function.__module__ == "time"):
            self.note("time and process", f"calls {name}", frame)
        elif direct and function is hash:
            self.note("time and process", "calls hash, which of strings is another in every process", frame)

    def _numpy(self, name: str, function: Any, *args: Any, **kwargs: Any) -> Any:
        self.note("random numbers", f"numpy's global generator ({name})", sys._getframe(1))
        return function(*args, **kwargs)

    def _stream_seed(self, function: Any, *words: Any) -> int:
        seed: int = function(*words)
        self._streams[seed] = " ".join(map(str, words[1:]))
        return seed

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it lasts, what this thread does is watched."""
        global _watch
        # Functions of numpy's global generator are compiled in a way that the profiler does not see.
        global_ones = [name for name in np.random.__all__ if hasattr(getattr(np.random, name), "__self__")]
        before = {(np.random, name): getattr(np.random, name) for name in global_ones}
        for (place, name), function in before.items():
            setattr(place, name, partial(self._numpy, name, function))
        before[randomness, "stream_seed"] = randomness.stream_seed
        randomness.stream_seed = partial(self._stream_seed, randomness.stream_seed)
        try:
            with self:
                _watch = self
                sys.setprofile(self._called)
                yield
        finally:
            sys.setprofile(None)
            _watch = None
            for (place, name), function in before.items():
                setattr(place, name, function)


def _opened(event: str, args: tuple[Any, ...]) -> None:
    if _watch and event == "open" and Path(str(args[0])).name.startswith("test."):
        _watch.note("test part", "reads the test part", sys._getframe(1))


sys.addaudithook(_opened)


def _place(frame: FrameType | None) -> tuple[str, str] | None:
    """The innermost function of the package that a call is made for, and its file and line."""
    while frame and frame.f_code.co_filename not in _OURS:
        code = frame.f_code
        if code.co_filename.startswith(_FOLDER) and code.co_qualname not in PASSING:
            file = f"{PACKAGE}/{code.co_filename.removeprefix(_FOLDER)}"
            return f"{file} {code.co_qualname}", f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def place_of(error: BaseException) -> str:
    """File and line of the package where an error was raised."""
    ours = [frame for frame in extract_tb(error.__traceback__) if frame.filename.startswith(_FOLDER)]
    return f"{PACKAGE}/{ours[-1].filename.removeprefix(_FOLDER)}:{ours[-1].lineno}" if ours else ""
