"""This package asks the machine for whole files, the cache folder, interrupts, memory and processes."""
