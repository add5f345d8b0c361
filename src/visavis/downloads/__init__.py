"""Packs of models: downloads, imports and removal."""
