"""From a trained model and a panel to forecasts and attention weights as frames."""
