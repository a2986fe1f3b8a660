"""Training: from a panel and settings to a model, and the validation that judges it."""
