"""What sees: packs of networks, the runtimes that run them, and the Recognizer."""
