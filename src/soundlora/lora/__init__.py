"""Everything about adapters: layers, files, names, ranks."""
