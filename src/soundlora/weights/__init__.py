"""The files of the frozen base, which are found, fetched, checked and read here."""
