"""What we keep in the database."""
