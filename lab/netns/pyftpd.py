"""pyftpdlib as a program: pyftpd.py ADDRESS ROOT NAME FIRST LAST ANNOUNCED; anonymous may read ROOT."""

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
    address, root, name, first, last, announced = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(root)
    FTPHandler.authorizer = authorizer
    FTPHandler.banner = name
    FTPHandler.passive_ports = range(int(first), int(last) + 1)
    FTPHandler.masquerade_address = announced or None
    FTPServer((address, 21), FTPHandler).serve_forever()


if __name__ == "__main__":
    main()
