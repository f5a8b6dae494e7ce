"""What the messages and views that were read show, as values. Pure."""
