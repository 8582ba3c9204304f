"""The operating system: the only package that starts processes or writes system files."""
