"""What other services' clients speak: one file for each protocol."""
