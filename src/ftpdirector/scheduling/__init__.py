"""Which real server a client gets."""
