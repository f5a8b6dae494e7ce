"""The verbs, one module for those that belong together; each is imported when it is chosen."""
