"""``visavis gallery``."""
