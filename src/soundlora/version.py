"""The version stands here alone: the package's metadata, its files and its clients read it from this module."""

__version__ = "0.1.0"
