"""The preflight: what commands that a rehearsal has seen will do to the real data, asked by reading only.

Imports scratch, files, mongo, terminal and errors, and nothing of ``rehearsal``.
"""

from .findings import Finding as Finding
from .groups import together as together
from .preflight import Preflight as Preflight
from .preflight import Rehearsed as Rehearsed
from .questions import Questions as Questions
from .questions import preflight_seconds as preflight_seconds
from .writes import Scale as Scale
