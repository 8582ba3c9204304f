"""A worker process: one proxy engine that does what the supervisor says, and reports.

Started as `python -m ftpdirector.daemon.worker` with inherited descriptors. This module knows no cluster file and no
health check.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import structlog
import uvloop

from ftpdirector.daemon import messages
from ftpdirector.daemon.logs import set_up_log
from ftpdirector.engines.proxy.engine import ProxyEngine
from ftpdirector.engines.proxy.shared import SharedCounts
from ftpdirector.errors import EngineError
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Endpoint
from ftpdirector.state import TransferRecord
from ftpdirector.status.transfer_log import TransferLog

_REPORT_EVERY_S: Final = 1.0


async def _serve(pair: socket.socket, passed: socket.socket, counts: SharedCounts, index: int) -> None:
    reader, writer = await asyncio.open_connection(sock=pair)
    log = structlog.get_logger().bind(worker=index)
    transfer_log = TransferLog()

    def on_failure(virtual_server: str, real_server: str, cause: str) -> None:
        messages.write(writer, messages.SessionFailed((virtual_server, real_server), cause))

    def on_transfer(record: TransferRecord) -> None:
        transfer_log.write(record)

    engine = ProxyEngine(
        log=log,
        clock=HostClock(),
        on_failure=on_failure,
        on_transfer=on_transfer,
        shared=counts,
        worker_index=index,
        workers=counts.workers,
    )

    def report() -> None:
        messages.write(writer, messages.Report(engine.changed_counters()))

    async def report_for_ever() -> None:
        while True:
            await asyncio.sleep(_REPORT_EVERY_S)
            report()

    started = False
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(report_for_ever())
        while True:
            message = await messages.read(reader)
            match message:
                case messages.Apply(wanted, endpoints):
                    transfer_log.open(wanted.cluster.transfer_log)
                    engine.give(_receive(passed, endpoints))
                    try:
                        if started:
                            engine.apply(wanted)
                        else:
                            await engine.start(wanted)
                            started = True
                        # What was configured stays: no later collection need walk it.
                        gc.collect()
                        gc.freeze()
                        messages.write(writer, messages.Ready())
                    except EngineError as error:
                        messages.write(writer, messages.Ready(str(error)))
                case messages.Stop(bound_s, grace_s):
                    await engine.drain_and_stop(bound_s, grace_s=grace_s)
                    break
                case messages.ListSessions():
                    messages.write(writer, messages.Sessions(engine.sessions()))
                case messages.Ready() | messages.Report() | messages.SessionFailed() | messages.Sessions() | None:
                    # The supervisor is gone: whoever replaces it has listeners of its own; finish what runs.
                    await engine.drain_and_stop(0 if message is not None else 60)
                    break
        reporting.cancel()
    report()
    transfer_log.close()
    writer.close()


def _receive(passed: socket.socket, endpoints: tuple[Endpoint, ...]) -> dict[Endpoint, socket.socket]:
    sockets: dict[Endpoint, socket.socket] = {}
    for endpoint in endpoints:  # one message a socket: a message takes 253 descriptors at most
        _, fds, _, _ = socket.recv_fds(passed, 1, 1)
        sockets[endpoint] = socket.socket(fileno=fds[0])
    return sockets


def main() -> None:
    """`worker PAIR_FD DESCRIPTOR_FD COUNTS_FD INDEX WORKERS JSON_LOG`; the counts' key comes first over the pair."""
    pair_fd, passed_fd, counts_fd, index, workers, json_log = (int(text) for text in sys.argv[1:7])
    # Signals from a terminal go to the whole process group; the supervisor decides what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    set_up_log(json=bool(json_log))
    pair = socket.socket(fileno=pair_fd)
    passed = socket.socket(fileno=passed_fd)
    key = passed.recv(16, socket.MSG_WAITALL)
    counts = SharedCounts.attach(counts_fd, key, workers)
    Path(f"/proc/{os.getpid()}/comm").write_text(f"ftpdirector-w{index}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pair, passed, counts, index))


if __name__ == "__main__":
    main()
