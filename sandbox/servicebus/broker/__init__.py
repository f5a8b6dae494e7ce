"""The message broker: queues, topics, subscriptions and filters. No I/O; the time is passed in."""
