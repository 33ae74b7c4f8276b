"""Copying a database, comparing what is in one, and keeping code inside of it; nothing here knows what it is for."""
