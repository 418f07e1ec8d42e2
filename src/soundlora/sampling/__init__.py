"""From noise to sound: schedule, guidance and generation."""
