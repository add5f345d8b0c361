"""Clients of one gallery."""
