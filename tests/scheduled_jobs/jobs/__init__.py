"""A package of somebody else that has the name of ours in a checkout."""

OWNER = "somebody"
