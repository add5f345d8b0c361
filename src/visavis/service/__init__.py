"""Enrol, identify, verify, forget: eyes, memory and policy put together."""
