import os

import migopy


class Migrations(migopy.MigrationsManager):
    MONGO_URI = os.environ.get("MONGO_URI", "mongodb://localhost:27017")
    MONGO_DATABASE = os.environ.get("MONGO_DATABASE", "blog")


migrations = Migrations.create_task()
