"""Many databases: one command, each database in its own state. It calls the subtasks of one database.

Imports rehearsal, run, mongo, fab, terminal and errors.
"""

from .subtasks import run as run
