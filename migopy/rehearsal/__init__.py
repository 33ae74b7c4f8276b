"""Rehearsals: migrations on a copy of the database."""

from .rehearsal import Rehearsal as Rehearsal
from .rehearsal import Stage as Stage
from .rehearsal import limit_of as limit_of
from .report import Results as Results
