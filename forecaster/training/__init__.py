"""Training: from a panel and settings to a model, and its validation."""
