"""ftpdirector: many FTP servers behind one address, so that every transfer works."""

__version__ = "0.1.0"
