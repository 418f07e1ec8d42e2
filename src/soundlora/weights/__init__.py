"""Files of the frozen base: found, fetched, checked, read."""
