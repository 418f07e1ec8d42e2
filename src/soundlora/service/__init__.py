"""The HTTP side: the hosted endpoint's queue protocol."""
