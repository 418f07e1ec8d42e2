"""Whole journeys, each callable from Python: train, generate, and what both share."""
