"""Messages, tables, progress, options and signals. No PyMongo.

Imports errors.
"""

from .messages import ColorsLogger as ColorsLogger
from .messages import Str as Str
from .streams import is_terminal as is_terminal
from .streams import show as show
