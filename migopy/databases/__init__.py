"""Many databases: one command, each database in its own state. It calls subtasks and knows nothing of migrations.

Imports mongo, fab, terminal, settings and errors.
"""

from .subtasks import run as run
