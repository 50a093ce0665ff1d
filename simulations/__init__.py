"""Market simulations: the production core under virtual time."""
