"""The HTTP server: metrics, health and readiness, with access control."""
