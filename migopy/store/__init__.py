"""What we keep in the database: the history, its log, the lock and the checkpoints of batches.

Imports files, mongo, terminal and errors.
"""

from .checkpoints import Checkpoints as Checkpoints
from .history import History as History
from .history import Record as Record
from .lock import Holder as Holder
from .lock import Lock as Lock
from .names import Names as Names
