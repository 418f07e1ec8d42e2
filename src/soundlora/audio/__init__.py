"""Sound as files and figures: WAV, levels, spectrograms."""
