"""The routes of the server. Each concept has its own file."""
