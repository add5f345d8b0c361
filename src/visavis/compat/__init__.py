"""Python modules of other projects, as they are called there."""
