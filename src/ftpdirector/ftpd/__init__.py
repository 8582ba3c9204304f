"""What a real server must say and have, so that its transfers find their way: its FTP server's settings, its host's."""
