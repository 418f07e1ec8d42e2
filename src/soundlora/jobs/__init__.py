"""Requests that wait, run and end: their table, the leases on them, and the processes that do the work."""
