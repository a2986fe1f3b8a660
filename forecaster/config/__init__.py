"""The configuration: from a TOML file to frozen settings, and back, without secrets."""
