"""The one door to the rooms that a fabfile's other tasks must not pay for: each is imported when first asked for.

``from . import lazy``, then ``lazy.run.Workspace``: PyMongo and what is built on it come with a subtask only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import batches as batches
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

        return importlib.import_module(f"{__package__}.{name}")
