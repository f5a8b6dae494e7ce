"""App settings as texts: how each is read, and what is wrong with those that cannot be."""
