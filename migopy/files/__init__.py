"""The migrations directory: finds, names, reads and imports its files. No PyMongo.

Imports terminal and errors.
"""

from .directory import create as create
from .directory import create_test as create_test
from .directory import sort_names as sort_names
from .migration import require_plain_function as require_plain_function
