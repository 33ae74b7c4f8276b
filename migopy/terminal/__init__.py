"""What people see, type and press. No PyMongo."""
