"""The way from noise to sound: schedule, guidance and generation."""
