"""The path of each connection through the director, step by step, and where it ends. Pure."""
