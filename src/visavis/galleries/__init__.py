"""What remembers: galleries of subjects, in one SQLite file or a PostgreSQL cluster."""
