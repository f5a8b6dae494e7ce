"""A Service Bus that fails."""
