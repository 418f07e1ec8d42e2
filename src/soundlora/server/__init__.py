"""The server: the table of requests, the processes that do the work, and the routes."""
