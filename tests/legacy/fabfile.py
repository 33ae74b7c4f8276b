# A fabfile of 2014. Only the settings come from outside, for the tests.
import os

import migopy


class Migrations(migopy.MigrationsManager):
    MONGO_HOST = os.environ.get("LEGACY_HOST", "localhost")
    MONGO_PORT = int(os.environ.get("LEGACY_PORT", 27017))
    MONGO_DATABASE = os.environ.get("LEGACY_DATABASE", "legacy")


migrations = Migrations.create_task()
