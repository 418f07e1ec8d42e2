"""This package handles addresses on the web, and fetches what lies at them."""
