"""This package asks the machine for whole files, the cache folder, interrupts and a GPU's memory."""
