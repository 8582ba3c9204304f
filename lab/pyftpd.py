"""pyftpdlib as a program: pyftpd.py HOST PORT ROOT NAME FIRST LAST MOST; user/secret may do everything in ROOT."""

from __future__ import annotations

import logging
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

from pyftpdlib.authorizers import DummyAuthorizer  # noqa: E402
from pyftpdlib.handlers import FTPHandler  # noqa: E402
from pyftpdlib.servers import FTPServer  # noqa: E402


def main() -> None:
    """Serve until killed."""
    host, port, root, name, first, last, most = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "secret", root, perm="elradfmwMT")
    FTPHandler.authorizer = authorizer
    FTPHandler.banner = name
    FTPHandler.passive_ports = range(int(first), int(last) + 1)
    server = FTPServer((host, int(port)), FTPHandler)
    server.max_cons = int(most)
    server.max_cons_per_ip = int(most)
    server.serve_forever()


if __name__ == "__main__":
    main()
