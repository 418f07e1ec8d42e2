"""The command line. Each command group has its own file."""
