"""Queues, topics and subscriptions as a topology file describes them, and the filters of subscriptions."""
