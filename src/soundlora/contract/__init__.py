"""The contract defines the fields of requests and results, their ranges and their defaults. It imports no torch."""
