"""Rehearsals: trying migrations on a copy of the database. ``scratch`` in it knows nothing of migrations.

Imports run, batches, files, store, mongo, settings, terminal and errors.
"""

from .rehearsal import Rehearsal as Rehearsal
from .report import Results as Results
from .result import judge as judge
from .result import limit_of as limit_of
from .stage import open_stage as open_stage
