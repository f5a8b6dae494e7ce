"""The message broker: queues, topics and subscriptions. No I/O; the time is passed in."""
