"""The store keeps requests, files and keys in the database. It imports no torch."""
