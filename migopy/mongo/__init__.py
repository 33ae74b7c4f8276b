"""How MongoDB is reached: from settings to a client, and from PyMongo's errors to sentences.

Imports terminal, settings and errors.
"""

from .client import close as close
from .client import connect as connect
from .client import database as database
from .client import kill_sessions as kill_sessions
from .client import look_up as look_up
from .client import make_client as make_client
from .failures import server_errors as server_errors
from .kind import ServerKind as ServerKind
from .kind import followed_replica_set as followed_replica_set
from .kind import server_kind as server_kind
from .server import Server as Server
