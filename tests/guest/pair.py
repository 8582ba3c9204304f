"""In the guest: two directors, each applied from the one cluster file; the active one goes in mid-transfer.

A transfer is told by what went over its data connection: block for block, and the longest time without one. The client
is next to the virtual address, and knows no way to the real servers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.guest import directors, run
from lab.guest.directors import inside
from lab.guest.strict_client import Session, attempt
from lab.guest.topology import ROOT, SIZE, VIRTUAL, Servers, ip

from ftpdirector import cli
from tests.guest.cases import case

PAIR = {"director-a": 2, "director-b": 3}
MEBIBYTE = 1 << 20
BLOCKS = 100
STRIKE_AT = 10
PATIENCE_S = 40.0
WORK = Path("/tmp/servers")
FILE = WORK / "cluster.toml"

CASE = case("pair", more='gateway_address = "198.51.100.1"')
ENGINE = "ipvs"
"""What the test asks for; see `main`."""
DIRECTORS = """
[vrrp]
virtual_router_id = 51
"""
DIRECTOR = """
[[director]]
name = "{name}"
address = "203.0.113.{number}"
priority = {priority}
"""


def block(number: int) -> bytes:
    """What stands at this place of the file, and at no other."""
    return number.to_bytes(8, "big") * (MEBIBYTE // 8)


def on(name: str, *words: str) -> tuple[int, str]:
    """A command of ours on that director: its network, its files."""
    output = Path(f"/tmp/said.{os.getpid()}")
    with output.open("w") as file:
        child = os.fork()
        if not child:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            directors.become(name)
            status = cli.execute(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()


def active() -> list[str]:
    """The directors that have the virtual address and the gateway."""
    found: list[str] = []
    for name in PAIR:
        words = ["ip", "-netns", name, "-4", "-o", "addr"]
        listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        if f" {VIRTUAL[4]}/32 " in listed and " 198.51.100.1/32 " in listed:
            found.append(name)
    return found


def until(holds: Callable[[], bool], what: str) -> float:
    """Look until it does, with a deadline; the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() > begun + PATIENCE_S:
            raise RuntimeError(f"not within {PATIENCE_S:.0f} s: {what}; active: {active()}")
        time.sleep(0.1)
    return time.monotonic() - begun


@contextlib.contextmanager
def session() -> Iterator[Session]:
    with inside("client"):
        held = Session(VIRTUAL[4], 21, PATIENCE_S)
    try:
        yield held
    finally:
        held.close()


def data_of(held: Session, mode: str, command: str) -> socket.socket:
    """The data connection of a transfer that has begun."""
    if mode == "PASV":
        with inside("client"):
            stream, _ = held.passive(mode)
        held.ask(command, "1")
        return stream
    with inside("client"):
        listener = held.active(mode)
    with listener:
        held.ask(command, "1")
        stream, _ = listener.accept()
    return stream


def ports_of(held: Session, stream: socket.socket) -> list[int]:
    """The client's, of the control and of the data connection."""
    return [held.control.getsockname()[1], stream.getsockname()[1]]


def down(held: Session, mode: str, strike: Callable[[list[int]], None]) -> dict[str, Any]:
    """A download; the strike comes when a tenth of it is there."""
    whole, gap_s = 0, 0.0
    with data_of(held, mode, "RETR big") as stream:
        stream.settimeout(PATIENCE_S)
        pending = bytearray()
        last_s = time.monotonic()
        while part := stream.recv(1 << 16):
            now_s = time.monotonic()
            gap_s, last_s = max(gap_s, now_s - last_s), now_s
            pending += part
            while len(pending) >= MEBIBYTE:
                if pending[:MEBIBYTE] != block(whole):
                    raise RuntimeError(f"block {whole} is another one")
                del pending[:MEBIBYTE]
                whole += 1
                if whole == STRIKE_AT:
                    strike(ports_of(held, stream))
                    last_s = time.monotonic()
    return {"blocks": whole, "rest": len(pending), "gap_s": gap_s, "reply": held.reply("2")}


def up(held: Session, mode: str, strike: Callable[[list[int]], None]) -> dict[str, Any]:
    """An upload of as much."""
    gap_s = 0.0
    with data_of(held, mode, "STOR in/big") as stream:
        stream.settimeout(PATIENCE_S)
        for number in range(BLOCKS):
            begun_s = time.monotonic()
            stream.sendall(block(number))
            gap_s = max(gap_s, time.monotonic() - begun_s)
            if number == STRIKE_AT:
                strike(ports_of(held, stream))
    reply = held.reply("2")
    stored = next(file for file in WORK.glob("*/in/big") if file.stat().st_size)
    with stored.open("rb") as file:
        whole = next((number for number in range(BLOCKS) if file.read(MEBIBYTE) != block(number)), BLOCKS)
        rest = len(file.read())
    stored.unlink()
    return {"blocks": whole, "rest": rest, "gap_s": gap_s, "reply": reply}


def said_by(name: str) -> dict[str, Any]:
    """What `status` says there of the director itself, with the part beside the kernel running for a moment."""
    child = os.fork()
    if not child:
        directors.become(name)
        sys.stdout = sys.stderr = Path(f"/tmp/run.{name}").open("w")  # noqa: SIM115  the process ends with it
        os._exit(cli.execute(("run", str(FILE))))
    try:
        until(lambda: on(name, "status", "--json")[0] == 0, f"{name} runs")
        status = json.loads(on(name, "status", "--json")[1])
        return {"director": status["director"], "is_active": status["is_active"], "replication": status["replication"]}
    finally:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


def cut() -> str:
    """The active director loses its wires."""
    (name,) = active()
    directors.cut(name)
    return name


def kill() -> str:
    """The active director's keepalived is killed, all of it."""
    (name,) = active()
    words = directors.command(name, "cat", "/run/keepalived.pid")
    os.kill(int(subprocess.run(words, capture_output=True, text=True, check=True).stdout), signal.SIGKILL)
    return name


LOOK = """
ip -4 -o addr; cat /proc/net/ip_vs /proc/net/ip_vs_conn; conntrack -L -p tcp
ps ax | grep -c '[k]eepalived\\|[c]onntrackd'
"""


def state() -> str:
    """What each director knows, for the reader of a failure."""
    said = [
        subprocess.run(
            directors.command(name, "sh", "-c", LOOK),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        ).stdout
        for name in PAIR
    ]  # fmt: skip
    return "".join(f"\n{name}:\n{text}" for name, text in zip(PAIR, said, strict=True))


def told_of(name: str, ports: list[int]) -> bool:
    """Whether a director knows connections of these ports of the client, each by whom it belongs to.

    IPVS's connections are tracked as well: that the packet filter knows one says nothing then.
    """
    words = directors.command(name, "sh", "-c", "cat /proc/net/ip_vs_conn; conntrack -L -p tcp 2>/dev/null")
    known = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    places = [" CB007109 {:04X} ", "dst=203.0.113.9 sport=20 dport={} "]
    if ENGINE == "nftables":
        places = ["src=203.0.113.9 dst=192.0.2.10 sport={} ", "dst=203.0.113.9 sport=20 dport={} "]
    return all(any(place.format(port) in known for place in places) for port in ports)


def survives(way: Callable[..., dict[str, Any]], mode: str, strike: Callable[[], str]) -> dict[str, Any]:
    """One transfer through one failover, and what the same session can do after it; then both directors are well."""
    struck: list[str] = []
    waited_s: list[float] = []

    def strike_when_told(ports: list[int]) -> None:
        (serves,) = active()
        (other,) = (name for name in PAIR if name != serves)
        waited_s.append(until(lambda: told_of(other, ports), f"{other} is told of {ports}"))
        struck.append(strike())

    with session() as held:
        told = way(held, mode, strike_when_told)
        (gone,) = struck
        told["told_s"] = waited_s[0]
        told["by"] = [name for name in active() if name != gone]
        with inside("client"):
            told["after"] = [held.retrieve(mode, SIZE)["works"] for mode in ("PASV", "PORT")]
            told["new"] = [attempt(VIRTUAL[4], 21, mode, SIZE)["works"] for mode in ("PASV", "PORT")]
    mend(gone)
    return told


def mend(name: str) -> None:
    """Wires plugged in, keepalived started: the other one stays active."""
    ip(f"link set {name}-out up\nlink set {name}-in up\n")
    status, said = on(name, "apply", str(FILE))
    if status:
        raise RuntimeError(said)
    until(lambda: len(active()) == 1 and name not in active(), f"{name} stands by")


IPVS_STEPS = (
    ("cut, passive download", down, "PASV", cut),
    ("killed, active download", down, "PORT", kill),
    ("cut, active upload", up, "PORT", cut),
    ("killed, passive upload", up, "PASV", kill),
)
STEPS = {"ipvs": IPVS_STEPS, "nftables": IPVS_STEPS[1:3]}
"""Under nftables all connections are carried alike; each strike and each mode once."""


def prepare() -> Servers:
    """Files to fetch, a folder to fill, both real servers."""
    WORK.mkdir(mode=0o755)
    text = CASE["cluster"].replace('"ipvs"', f'"{ENGINE}"', 1)
    text = text.replace("\n[[virtual_server]]", DIRECTORS + "[[virtual_server]]", 1)
    for name, number in PAIR.items():
        text += DIRECTOR.format(name=name, number=number, priority=200 - number)
    FILE.write_text(text)
    servers = Servers(WORK)
    big = WORK / "big"
    with big.open("wb") as file:
        for number in range(BLOCKS):
            file.write(block(number))
    for name, server in CASE["servers"].items():
        writes = ["write_enable=YES", "anon_upload_enable=YES", "anon_other_write_enable=YES", "anon_umask=022"]
        servers.start(name, server["kind"], 4, [*server["settings"], *writes])
        os.link(big, WORK / name / "big")
        (WORK / name / "in").mkdir()
        (WORK / name / "in").chmod(0o777)
    return servers


def main() -> None:
    global ENGINE  # noqa: PLW0603  the one thing that this process is told
    ENGINE = run.arguments()
    subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr"], check=True)
    cli.application()  # loads every command, once
    directors.build()
    ip("route replace 192.0.2.0/24 dev eth0\n", "client")
    servers = prepare()
    told: dict[str, Any] = {}
    try:
        for name, number in PAIR.items():
            directors.put(name, number, virtual=False)
            directors.apart(name)
            told[f"apply {name}"] = on(name, "apply", str(FILE))
        with inside("director-b"):
            servers.ready(4)
        told["first_s"] = until(lambda: active() == ["director-a"], "director-a is active")
        told["said"] = [said_by(name) for name in PAIR]
        for name, way, mode, strike in STEPS[ENGINE]:
            begun_s = time.monotonic()
            try:
                told[name] = survives(way, mode, strike)
            except Exception:
                told[name] = {"error": traceback.format_exc() + state()}
            print(name, f"{time.monotonic() - begun_s:.1f} s", told[name], flush=True)
        told["remove"] = [on(name, "remove") for name in PAIR]
    finally:
        servers.stop()
        run.report(told)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
