"""AMQP 1.0 data: types, their encoding, performatives and frames (OASIS AMQP 1.0, parts 1 and 2)."""
