"""What we keep in the database: the history, its log, the lock, the checkpoints of batches and what they keep.

Imports mongo, terminal and errors.
"""

from .checkpoints import Checkpoints as Checkpoints
from .history import History as History
from .history import Record as Record
from .kept import KeptStore as KeptStore
from .lock import Holder as Holder
from .lock import Lock as Lock
from .names import Names as Names
from .one_read import Found as Found
from .one_read import read_in_one as read_in_one
from .rejected import RejectedStore as RejectedStore
