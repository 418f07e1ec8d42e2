"""Requests, files and keys in the database. No torch."""
