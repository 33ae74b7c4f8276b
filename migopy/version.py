"""The version, where setup.py can read it without importing anything."""

__version__ = "2.0.0"
