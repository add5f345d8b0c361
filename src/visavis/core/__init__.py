"""Pure functions on images, boxes and embeddings: no files of their own, no clock, no environment, no runtime."""
