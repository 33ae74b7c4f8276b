"""Dumps: making and restoring them with mongodump and mongorestore.

Imports store, mongo, terminal and errors.
"""

from .dump import facts as facts
from .dump import find as find
from .dump import make as make
from .dump import require_name as require_name
from .restore import Restore as Restore
from .tools import Tool as Tool
from .tools import dump_command as dump_command
from .tools import restore_command as restore_command
