"""The long-running service: worker groups, reload of the configuration, start and stop."""
