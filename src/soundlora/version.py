"""The version, in one place: the package's metadata, files and clients read it here."""

__version__ = "0.1.0"
