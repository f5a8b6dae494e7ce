"""Service Bus: sends, schedules, receives and settles messages; leases and cancellation markers."""
