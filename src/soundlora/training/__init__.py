"""From clips to a LoRA."""
