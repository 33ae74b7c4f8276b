"""Rehearsals: trying migrations on a copy of the database. The room ``scratch`` inside knows nothing of migrations.

Imports run, batches, files, store, mongo, settings, terminal and errors.
"""

from .ahead import OtherDatabase as OtherDatabase
from .pages import report_file as report_file
from .preflight import preflight_seconds as preflight_seconds
from .rehearsal import Rehearsal as Rehearsal
from .rehearsal import is_overridden as is_overridden
from .report import Results as Results
from .result import sample_limit as sample_limit
from .sample import Sample as Sample
from .scratch.sampling import count_shapes as count_shapes
from .stage import Stage as Stage
from .stage import open_stage as open_stage
