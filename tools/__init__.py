"""Programs that keep the project: its environment and its locks. Nothing here is deployed."""
