"""The work of requests: an executor, its workers, and what a worker does. Torch is loaded here."""
