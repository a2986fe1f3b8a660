"""A real series replayed through the jobs of the service, tick by tick."""
