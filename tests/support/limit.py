"""The limit after which a test gives up waiting."""

# Seconds. Tests wait for events, on a machine of any speed; the limit only ends a test that would wait for ever.
LIMIT = 100.0
