"""The commands of `python -m sandbox`, one module each, and what they share."""
