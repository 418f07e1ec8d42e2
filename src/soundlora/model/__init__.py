"""The audio half of LTX 2.3 and 2.5, driven by the configuration that a checkpoint carries."""
