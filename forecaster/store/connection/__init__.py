"""Database connections: engines, transactions, limits, errors, bulk transfer."""
