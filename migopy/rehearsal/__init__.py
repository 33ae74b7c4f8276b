"""Rehearsals: trying migrations on a copy of the database. The room ``scratch`` inside knows nothing of migrations.

Imports run, batches, files, store, mongo, settings, terminal and errors.
"""

from .rehearsal import Rehearsal as Rehearsal
from .report import Results as Results
from .result import judge as judge
from .result import sample_limit as sample_limit
from .stage import open_stage as open_stage
