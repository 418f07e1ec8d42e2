"""Whole journeys, each callable from Python: training, generation, and the parts that both share."""
