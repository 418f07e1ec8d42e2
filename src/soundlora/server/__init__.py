"""What serves: the table of requests, the processes that do the work, the routes."""
