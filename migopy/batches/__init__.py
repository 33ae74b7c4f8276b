"""Going through a collection in batches, each done whole, from where the run before has stopped.

Imports store, mongo, legacy, terminal and errors.
"""

from .batches import Batches as Batches
from .progress import Line as Line
from .trail import Trail as Trail
