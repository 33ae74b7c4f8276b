"""Copying a database, comparing two states of it, and keeping code inside of it.

Imports mongo, terminal and errors, and nothing of ``rehearsal``: the copier, the comparing and the guard each work
without the others.
"""
