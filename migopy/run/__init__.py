"""What runs: the workspace of a subtask, what may run, one run of migrations, and its reports.

Imports batches, files, legacy, store, mongo, settings, terminal and errors.
"""

from ..terminal.signals import let_through as let_through
from . import kept as kept
from . import report as report
from .acceptance import find_acceptance as find_acceptance
from .direction import EXECUTE as EXECUTE
from .direction import ROLL_BACK as ROLL_BACK
from .direction import ROLLBACK_TARGETS as ROLLBACK_TARGETS
from .direction import Direction as Direction
from .operating import Operator as Operator
from .outcome import Outcome as Outcome
from .outcome import print_json_at_end as print_json_at_end
from .planning import Planning as Planning
from .runner import HOOKS as HOOKS
from .runner import Hooks as Hooks
from .runner import Run as Run
from .runner import RunContext as RunContext
from .workspace import Workspace as Workspace
from .workspace import user_at_host as user_at_host
