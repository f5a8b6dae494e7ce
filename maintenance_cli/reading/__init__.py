"""Service Bus and Resource Manager as the operator sees them: peeked, read, and what little is sent. Thin."""
