"""The audio half of LTX 2.3, driven by the configuration that a checkpoint carries."""
