"""PostgreSQL store with pgvector."""
