"""Clients of review queues."""
