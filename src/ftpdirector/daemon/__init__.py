"""The composition root: everything below becomes a running director."""
