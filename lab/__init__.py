"""The black box: real FTP servers, real clients and hosts around the installed command. Never imports the package."""
