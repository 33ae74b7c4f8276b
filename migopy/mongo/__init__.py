"""How MongoDB is reached."""

from .client import Server as Server
from .client import close as close
from .client import connect as connect
from .client import database as database
from .client import followed_replica_set as followed_replica_set
from .client import make_client as make_client
from .client import server_errors as server_errors
