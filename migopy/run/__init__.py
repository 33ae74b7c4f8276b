"""What runs: the workspace of a subtask, what may run, one run of migrations, and its reports.

Imports batches, files, legacy, store, mongo, settings, terminal, version and errors.
"""

from . import kept as kept
from . import rejected as rejected
from . import report as report
from . import screen as screen
from .acceptance import find_acceptance as find_acceptance
from .direction import EXECUTE as EXECUTE
from .direction import ROLL_BACK as ROLL_BACK
from .direction import ROLLBACK_TARGETS as ROLLBACK_TARGETS
from .history_view import find_history as find_history
from .operating import Operator as Operator
from .outcome import json_output as json_output
from .outcome import open_outcome as open_outcome
from .plan_runner import run_all as run_all
from .planning import Planning as Planning
from .workspace import Workspace as Workspace
