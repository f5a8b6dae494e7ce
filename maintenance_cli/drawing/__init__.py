"""How values are shown: tables, trees, JSON. Data goes to stdout, all else to stderr."""
