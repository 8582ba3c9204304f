"""pyftpdlib as a program: pyftpd.py HOST PORT ROOT NAME FIRST LAST MOST; user/secret may do everything in ROOT."""

from __future__ import annotations

import logging
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

from pyftpdlib.authorizers import DummyAuthorizer  # noqa: E402
from pyftpdlib.handlers import FTPHandler  # noqa: E402
from pyftpdlib.servers import FTPServer  # noqa: E402


class Handler(FTPHandler):
    """Says of each file that was sent to it whether it came to its end."""

    def on_file_received(self, file: str) -> None:
        """The end of data came as FIN."""
        print(f"OK UPLOAD {file}", flush=True)

    def on_incomplete_file_received(self, file: str) -> None:
        """It came as RST, by ABOR, or by the end of the session."""
        print(f"FAIL UPLOAD {file}", flush=True)


def main() -> None:
    """Serve until killed."""
    host, port, root, name, first, last, most = sys.argv[1:]
    logging.basicConfig(level=logging.WARNING)
    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "secret", root, perm="elradfmwMT")
    Handler.authorizer = authorizer
    Handler.banner = name
    Handler.passive_ports = range(int(first), int(last) + 1)
    server = FTPServer((host, int(port)), Handler)
    server.max_cons = int(most)
    server.max_cons_per_ip = int(most)
    server.serve_forever()


if __name__ == "__main__":
    main()
