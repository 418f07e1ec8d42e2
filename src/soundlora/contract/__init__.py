"""What is asked and answered: the fields of requests and results, their ranges and defaults. No torch."""
