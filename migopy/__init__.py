"""MongoDB migrations for teams that deploy with Fabric 1.x."""

from .console import ColorsLogger as ColorsLogger
from .console import Str as Str
from .errors import MigopyException as MigopyException
from .errors import StopTaskExecution as StopTaskExecution
from .manager import MigrationsManager as MigrationsManager
from .subtasks import task as task
from .version import __version__ as __version__
