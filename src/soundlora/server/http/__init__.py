"""The routes of the server, a file a concept."""
