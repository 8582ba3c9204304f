"""`ftpdirector demo`: see the whole of it in one process. This module knows no FTP and no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from ftpdirector.cli.verify import show_results, verify_all
from ftpdirector.daemon.demo import HOST, SHARED_FILE, cluster, real_servers, serve, temporary_directory
from ftpdirector.daemon.logs import set_up_log
from ftpdirector.errors import EngineError
from ftpdirector.host.sink import LineSink, own_output
from ftpdirector.model import Endpoint, PortRange
from ftpdirector.verify.data import Mode
from ftpdirector.verify.modes import disagreements
from ftpdirector.verify.session import Result, Task

if TYPE_CHECKING:
    from ftpdirector.daemon.supervisor import Supervisor

EXAMPLES = "Examples: ftpdirector demo; ftpdirector demo --port 2200; ftpdirector demo --check. Ctrl-C ends it."
_PASSIVE_PORTS: Final = 200
_FLUSH_S: Final = 1.0


def command(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where clients connect, on 127.0.0.1.")] = 2121,
    status_port: Annotated[int, typer.Option(min=0, max=65535, help="The status page; 0: none.")] = 8021,
    check: Annotated[
        bool, typer.Option("--check", help="Verify every mode through itself, print the table, exit 0 or 1.")
    ] = False,
) -> int:
    """Run three small FTP servers, the director before them, and its status page."""
    set_up_log(level="warning" if check else "info")
    results: list[Result] = []
    say = LineSink()  # who reads the terminal, or does not, holds up neither the servers nor the director
    say.use(own_output())
    with temporary_directory() as below, real_servers(below) as servers:
        first = port + 1 if 1024 <= port + 1 <= 65535 - _PASSIVE_PORTS else 20000
        wanted = cluster(
            servers,
            port=port,
            status_port=status_port or None,
            passive_ports=PortRange(first, first + _PASSIVE_PORTS - 1),
        )
        socket = below / "control.sock"

        async def verified(supervisor: Supervisor) -> None:
            del supervisor
            task = Task(
                target=Endpoint(HOST, port),
                user="anonymous",
                password="demo@localhost",  # noqa: S106 - what an anonymous client says
                path=SHARED_FILE,
                upload="/incoming",
                uploaded=bytes(range(256)) * 4096,
                upload_name="verify",
            )
            results.extend(await verify_all([task], list(Mode), socket))

        async def shown(supervisor: Supervisor) -> None:
            say.write(_words(port, status_port, str(socket)).encode())
            await supervisor.ended()

        try:
            serve(wanted, socket, verified if check else shown)
        except EngineError as error:
            raise EngineError(f"{error}; choose another with --port or --status-port") from None
    if not check:
        say.flush(_FLUSH_S)
        return 0
    show_results(results, disagreements(results))
    return 0 if results and all(one.good for one in results) else 1


def _words(port: int, status_port: int, socket: str) -> str:
    page = f"\nThe status page: http://127.0.0.1:{status_port}/   (/metrics, /api/v1/status)\n" if status_port else ""
    return f"""
Three FTP servers (alpha, bravo, charlie) behind one address: 127.0.0.1:{port}

Try, elsewhere:

    curl ftp://127.0.0.1:{port}/                            # run it twice: another server each time
    curl ftp://127.0.0.1:{port}/large.bin | sha256sum       # passive, byte for byte
    curl -P - ftp://127.0.0.1:{port}/readme.txt             # active
    curl -T /etc/hostname ftp://127.0.0.1:{port}/incoming/  # upload
    .venv/bin/ftpdirector verify 127.0.0.1:{port} --socket {socket}
    .venv/bin/ftpdirector drain alpha --socket {socket}
    .venv/bin/ftpdirector status --socket {socket}
{page}
Ctrl-C ends it.

"""
