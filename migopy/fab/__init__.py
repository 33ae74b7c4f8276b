"""The command line: the only package that knows Fabric 1.x.

Imports settings, terminal and errors.
"""

from .door import env as env
from .door import show_command as show_command
from .entry import create_task as create_task
from .entry import fab_command as fab_command
from .entry import refuse_as_task as refuse_as_task
from .task import subtask_names as subtask_names
from .task import task as task
