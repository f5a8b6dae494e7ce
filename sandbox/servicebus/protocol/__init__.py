"""The AMQP 1.0 protocol: connections, sessions and links."""
