"""Measures how often a pack is right: on pairs of images, or on a gallery, with how sure that is."""
