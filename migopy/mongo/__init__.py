"""How MongoDB is reached: from settings to a client, and from PyMongo's errors to sentences.

Imports terminal, settings and errors.
"""

from .client import close as close
from .client import connect as connect
from .client import database as database
from .client import kill_sessions as kill_sessions
from .client import make_client as make_client
from .client import named as named
from .failures import server_errors as server_errors
from .kind import Kind as Kind
from .kind import followed_replica_set as followed_replica_set
from .kind import kind_of as kind_of
from .server import Server as Server
