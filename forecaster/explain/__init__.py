"""How far attention weights can be trusted, measured."""
