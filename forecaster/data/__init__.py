"""The values of a dataset on its grid: panels, windows, seasons, and what was known when."""
