"""The calls of PyMongo 2 and 3 on today's PyMongo: what 2014's migrations find when ``up(db)`` gets its ``db``.

``database(db)`` makes a ``Database`` that is a real one, and whose collections and cursors are real ones too. They do
all that PyMongo's own do, and answer in addition what PyMongo 4 removed, with the arguments and the return values of
PyMongo 2.6 to 3.13. Each such call warns once per place of the call to write today (``warnings_shown``). Nothing here
depends on which PyMongo is installed: the old calls are made of today's, which PyMongo 3.13 has as well.

    calls        answering or refusing an old call, and the warnings; the tables of what MongoDB and PyMongo dropped
    arguments    what the arguments of then mean today
    operators, indexes, files     what MongoDB 2 and GridFS understood, as today's
    replies      what was answered then
    options      what could be set on a collection, a database and a client
    cursors, bulk, collection, database, client     the objects that a migration holds
    advice       what to write, where none of these objects is in between
"""

from .advice import advice as advice
from .calls import LegacyCall as LegacyCall
from .calls import warnings_shown as warnings_shown
from .client import database as database
from .client import plain as plain
