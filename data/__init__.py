"""Data sets of the paper's tasks: `load("mnist", "real")`, `load("celeba", "embedded")`, and one's own. One module a
data set. Tasks alone need no torch: what does is imported when it is first asked for."""

from typing import TYPE_CHECKING

from .messages import DataError
from .tasks import SOURCES, TASKS, Task

if TYPE_CHECKING:
    from .common import Dataset, Split
    from .loading import MODULES, load

__all__ = ["MODULES", "SOURCES", "TASKS", "DataError", "Dataset", "Split", "Task", "load"]


def __getattr__(name: str):
    if name in ("Dataset", "Split"):
        from . import common as module
    elif name in ("MODULES", "load"):
        from . import loading as module
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
