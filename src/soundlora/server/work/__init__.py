"""The work of requests: an executor, its workers, and the jobs of a worker. This package loads torch."""
