"""What the machine is asked for: files that are whole, the cache folder, interrupts, a GPU's memory."""
