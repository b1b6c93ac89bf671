"""A reproducibility and ablation benchmark harness around AlexNet (Krizhevsky, Sutskever and Hinton 2012).

`load_study` gives a study's results as pandas frames.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["StudyResults", "load_study"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from harness.results import StudyResults, load_study
else:

    def __getattr__(name: str) -> object:
        # By name, when it is asked for: the package itself stays light, and no run's identity holds the report.
        if name in __all__:
            return getattr(import_module("harness.results"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
