"""The migrations directory: finding, naming, reading and importing its files. No PyMongo.

Imports terminal and errors.
"""

from .directory import create as create
from .directory import in_order as in_order
from .directory import numbering as numbering
from .directory import require_good_names as require_good_names
from .migration import require_runs as require_runs
