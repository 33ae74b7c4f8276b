"""The migrations directory: finds, names, reads and imports its files. No PyMongo.

Imports terminal and errors.
"""

from .directory import create as create
from .directory import number_parser as number_parser
from .directory import require_good_names as require_good_names
from .directory import sort_names as sort_names
from .migration import require_plain_function as require_plain_function
