"""When runs are due: timer, catch-up, misfire policy, back-off."""
