"""Addresses on the web, and what lies at them."""
