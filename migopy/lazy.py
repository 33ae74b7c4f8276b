"""The packages that import PyMongo, each imported at first use: ``lazy.run``, ``lazy.mongo``.

A fabfile loads migopy for every task, so tasks that need no database do not pay for PyMongo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import batches as batches
    from . import databases as databases
    from . import dumps as dumps
    from . import files as files
    from . import legacy as legacy
    from . import mongo as mongo
    from . import rehearsal as rehearsal
    from . import run as run
    from . import store as store
else:

    def __getattr__(name: str) -> Any:
        import importlib

        module = importlib.import_module(f"{__package__}.{name}")
        globals()[name] = module  # the next time, Python finds it without asking
        return module
