"""The control connection of FTP, without I/O: bytes and events in, actions out."""
