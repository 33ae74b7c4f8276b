"""Dumps: making one, restoring one, and the tools that do it."""

from . import tools as tools
from .connection import connection as connection
from .dump import facts as facts
from .dump import find as find
from .dump import make as make
