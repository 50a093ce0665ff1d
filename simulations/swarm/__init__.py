"""The whole system from one seed: real market, engine, journal; everything around it is fake."""
