"""Batches: going through a collection in pieces, with a checkpoint after each piece.

Imports store, mongo, files, legacy, terminal and errors.
"""

from .batches import Batches as Batches
from .control import Control as Control
from .progress import Line as Line
from .trail import Trail as Trail
