"""Anchor-free detectors: SCRFD and YuNet."""
