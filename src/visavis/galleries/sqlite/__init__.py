"""SQLite store: one file, exact search in memory."""
