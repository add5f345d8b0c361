"""The HTTP server: a shell around the library, built with FastAPI."""
