"""Connections to our own database: engines, transactions, limits, errors, bulk transfer."""
