"""Sound in files and figures: WAV, levels, spectrograms."""
