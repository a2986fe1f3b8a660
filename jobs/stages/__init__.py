"""The stages that jobs share: pull, models in service, panels, matured forecasts."""
