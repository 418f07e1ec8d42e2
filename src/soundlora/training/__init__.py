"""The way from clips to a LoRA."""
