"""The one door to the modules that a fabfile's other tasks must not pay for: each is imported when first asked for.

``from . import rooms``, then ``rooms.session.Session``: PyMongo and what is built on it come with a subtask only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import account as account
    from . import batches as batches
    from . import dump as dump
    from . import legacy as legacy
    from . import loader as loader
    from . import mongo as mongo
    from . import planning as planning
    from . import progress as progress
    from . import rehearsal as rehearsal
    from . import rehearsal_report as rehearsal_report
    from . import report as report
    from . import restore as restore
    from . import run as run
    from . import session as session
    from . import settings as settings
    from . import tools as tools
    from . import translation as translation
else:

    def __getattr__(name: str) -> Any:
        import importlib

        return importlib.import_module(f"{__package__}.{name}")
