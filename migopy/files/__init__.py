"""The migrations directory. No PyMongo."""

from .directory import create as create
from .directory import in_order as in_order
from .directory import numbering as numbering
from .directory import require_good_names as require_good_names
from .directory import require_runs as require_runs
