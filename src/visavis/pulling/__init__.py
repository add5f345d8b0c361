"""Models that are not there yet: pulled from their publishers or a mirror, imported, verified, removed."""
