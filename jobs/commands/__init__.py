"""The commands, one module for each kind; `jobs.cli` puts them together."""
