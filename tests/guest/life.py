"""In the guest: a cluster that was applied lives through failures, drains, reboots and applies that fail.

Each step is a function that returns what it saw; the tests read it. Sessions are held from the client's namespace while
the director changes beneath them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lab.guest import run, topology
from lab.guest.directors import inside
from lab.guest.strict_client import FailedError, Session, attempt

from ftpdirector.nft.listing import canonical
from tests.guest.cases import NAMES, VIRTUAL, case
from tests.guest.scenario import director, ipvs, left, shell, wait_for_services

FILE = Path("/tmp/servers/cluster.toml")
WORK = Path("/tmp/servers")
ALPHA, BRAVO = "C633640B", "C633640C"
CASE = case("life")
PATIENCE_S = 30.0


def until(holds: Callable[[], bool], what: str) -> float:
    """Look until it does, with a deadline; the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() > begun + PATIENCE_S:
            raise RuntimeError(
                f"not within {PATIENCE_S:.0f} s: {what}\n{ipvs()}\n{shell('cat /tmp/run.log | tail -20')}"
            )
        time.sleep(0.05)
    return time.monotonic() - begun


def weight(address: str) -> int:
    """Of a real server in the control service."""
    block = ipvs().split("FWM  00000015")[1].split("FWM")[0]
    return next(int(line.split()[3]) for line in block.splitlines() if f"-> {address}:" in line)


@contextlib.contextmanager
def session(greets: str = "") -> Iterator[Session]:
    """One with the real server that is wanted: round robin comes to each in turn."""
    with inside("client"):
        for _ in range(8):
            with contextlib.suppress(FailedError):  # a look at a server that has one place left takes it for a moment
                held = Session(VIRTUAL[4], 21)
                if greets in held.banner:
                    break
                held.close()
        else:
            raise RuntimeError(f"nobody greets as {greets}")
    try:
        yield held
    finally:
        held.close()


def retrieves(held: Session) -> list[str]:
    """What a held session can still do; the server's name for each mode that works, or why not."""
    said: list[str] = []
    with inside("client"):
        for mode in ("PASV", "PORT"):
            try:
                said.append(str(held.retrieve(mode, topology.SIZE)["server"]))
            except FailedError as error:
                said.append(str(error))
    return said


def newcomers(count: int = 4) -> list[str]:
    """Who serves new sessions."""
    with inside("client"):
        found = [attempt(VIRTUAL[4], 21, "PASV", topology.SIZE) for _ in range(count)]
    return [str(one.get("server") or one.get("why")) for one in found]


@contextlib.contextmanager
def daemon() -> Iterator[int]:
    """`ftpdirector run`, until the block ends."""
    running = os.fork()
    if not running:
        os._exit(director("run", str(FILE))[0])
    try:
        until(Path("/run/ftpdirector/control.sock").exists, "the director runs")
        yield running
    finally:
        for pid in Path(f"/proc/{running}/task/{running}/children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)
        os.waitpid(running, 0)


def start(servers: topology.Servers, name: str, *more: str) -> None:
    server = CASE["servers"][name]
    servers.start(name, server["kind"], 4, [*server["settings"], *more], server["port"])


def killed(servers: topology.Servers) -> dict[str, Any]:
    """A real server is killed: quiescent in time, the other's session unharmed; it comes back."""
    with session("bravo") as held:
        servers.kill("alpha")
        took_s = until(lambda: weight(ALPHA) == 0, "alpha is quiescent")
        seen = {"took_s": took_s, "held": retrieves(held), "new": newcomers(), "bravo": weight(BRAVO)}
    start(servers, "alpha")
    seen["back_s"] = until(lambda: weight(ALPHA) == 1, "alpha is back")
    return seen


def drained(servers: topology.Servers) -> dict[str, Any]:
    """Drained: no new session, no broken transfer, and --wait ends with the last session."""
    with session("alpha") as held:
        status, said = director("drain", "alpha")
        seen: dict[str, Any] = {"status": status, "said": said}
        until(lambda: weight(ALPHA) == 0, "alpha is quiescent")
        seen |= {"held": retrieves(held), "new": newcomers()}
        seen["too_early"] = director("drain", "alpha", "--wait", "--timeout", "1s")[0]
    seen["wait"] = director("drain", "alpha", "--wait", "--timeout", "30s")[0]
    return seen


def restarted(servers: topology.Servers) -> dict[str, Any]:
    """The daemon is killed and started anew while alpha is drained: keepalived goes on, and so does the drain."""
    seen: dict[str, Any] = {}
    with daemon() as running:
        until(lambda: weight(ALPHA) == 0, "alpha is drained still")
        for pid in Path(f"/proc/{running}/task/{running}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        seen["without"] = newcomers()
    with daemon():
        until(lambda: director("status", "--json")[1].count('"up"') == 2, "both were looked at")
        seen["weight"] = weight(ALPHA)
        director("enable", "alpha")
        until(lambda: weight(ALPHA) == 1, "alpha is enabled")
    return seen


def full(servers: topology.Servers) -> dict[str, Any]:
    """A real server that says 421 takes no new sessions and keeps those that it has."""
    servers.kill("alpha")
    until(lambda: weight(ALPHA) == 0, "alpha is down")
    start(servers, "alpha", "max_clients=1")
    with daemon():
        until(lambda: weight(ALPHA) == 1, "alpha is back")
        with session("alpha") as held:
            took_s = until(lambda: weight(ALPHA) == 0, "alpha is full")
            seen = {"took_s": took_s, "held": retrieves(held), "new": newcomers()}
            seen["verdict"] = "full" in director("status", "--json")[1]
        until(lambda: weight(ALPHA) == 1, "alpha has room")
        servers.kill("alpha")
        start(servers, "alpha")
    return seen


def reweighted(servers: topology.Servers) -> dict[str, Any]:
    """A weight change is a reload of keepalived that drops nothing."""
    del servers
    with session("alpha") as held:
        FILE.write_text(CASE["cluster"].replace('name = "bravo"', 'name = "bravo"\nweight = 3'))
        status, said = director("apply", str(FILE))
        until(lambda: weight(BRAVO) == 3, "bravo weighs 3")
        return {"status": status, "said": said, "held": retrieves(held), "alpha": weight(ALPHA)}


def stood_in_for(servers: topology.Servers) -> dict[str, Any]:
    """The sorry server gets sessions while nobody else takes any, and keeps them when others are back."""
    del servers
    FILE.write_text(CASE["cluster"].replace('name = "bravo"', 'name = "bravo"\nsorry = true'))
    status, said = director("apply", str(FILE))
    seen: dict[str, Any] = {"status": status, "said": said, "before": newcomers()}
    with daemon(), session("alpha") as held:
        director("drain", "alpha")
        until(lambda: "bravo" in newcomers(1), "bravo stands in")
        seen |= {"held": retrieves(held), "meanwhile": newcomers()}
        with session("bravo") as sorry:
            director("enable", "alpha")
            until(lambda: "alpha" in newcomers(1), "alpha is back")
            seen |= {"after": newcomers(), "kept": retrieves(sorry)}
    FILE.write_text(CASE["cluster"])
    seen["back"] = director("apply", str(FILE))
    return seen


def failing(servers: topology.Servers) -> dict[str, Any]:
    """Applies that cannot end well leave the host as it was, with a session that goes on."""
    del servers
    seen: dict[str, Any] = {}
    before = state()
    with session("alpha") as held:
        changed = CASE["cluster"].replace("10000-19999", "20000-29999")
        FILE.write_text(changed)
        seen["moved"] = director("apply", str(FILE))
        main = Path("/etc/keepalived/keepalived.conf")
        good = main.read_text()
        main.write_text(good + "virtual_server fwmark nonsense {\n")
        seen["bad_keepalived"] = director("apply", str(FILE), "--move-slices")
        main.write_text(good)
        seen["as_before"] = state() == before
        seen["refused_rule"] = refused_rule()
        seen["still_as_before"] = state() == before
        seen["full_disk"] = full_disk()
        seen["not_full_any_more"] = state() == before
        seen["held"] = retrieves(held)
    return seen


def refused_rule() -> tuple[int, str]:
    """The kernel refuses what it took in an empty network: in its place, an nft that loads nothing into this one."""
    nft = shell("command -v nft").strip()
    Path("/tmp/bin").mkdir(exist_ok=True)
    shell(f"cp {nft} /tmp/bin/nft-real")
    refusing = Path("/tmp/bin/nft")
    refusing.write_text(
        """#!/bin/sh
case "$1 $(readlink /proc/self/ns/net)" in "--file $(readlink /proc/1/ns/net)") cat >/dev/null; exit 1 ;; esac
exec /tmp/bin/nft-real "$@"
"""
    )
    refusing.chmod(0o755)
    shell(f"mount --bind /tmp/bin/nft {nft}")
    try:
        return director("apply", str(FILE), "--move-slices")
    finally:
        shell(f"umount {nft}")


def full_disk() -> tuple[int, str]:
    """No room for the new rules file."""
    shell("mkdir -p /tmp/small && mount -t tmpfs -o size=16k tmpfs /tmp/small && cp -a /etc/ftpdirector/. /tmp/small/")
    shell("mount --move /tmp/small /etc/ftpdirector && head -c 16k /dev/zero >/etc/ftpdirector/filler || true")
    try:
        return director("apply", str(FILE), "--move-slices")
    finally:
        shell("umount /etc/ftpdirector")


def cut_short(servers: topology.Servers) -> dict[str, Any]:
    """SIGKILL of apply itself, at five moments of its way: the next apply makes it whole."""
    del servers
    outcomes: list[bool] = []
    whole = 0.0
    for tenth in (0, 1, 3, 5, 7, 9):
        FILE.write_text(CASE["cluster"].replace("slices = 4", f"slices = {5 + tenth // 2 % 2}"))
        child = os.fork()
        if not child:
            status, _ = director("apply", str(FILE), "--move-slices")
            os._exit(status)
        begun = time.monotonic()
        if not tenth:  # the first is let through, to see how long it takes
            os.waitpid(child, 0)
            whole = time.monotonic() - begun
            continue
        time.sleep(whole * tenth / 10)
        grandchildren = Path(f"/proc/{child}/task/{child}/children").read_text().split()
        for pid in (*map(int, grandchildren), child):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(child, 0)
        status, said = director("apply", str(FILE), "--move-slices")
        outcomes.append(status == 0 and director("plan", str(FILE))[0] == 0 and "half" not in said)
    return {"whole_s": whole, "outcomes": outcomes}


def confirmed(servers: topology.Servers) -> dict[str, Any]:
    """--confirm: undone by itself, or kept when it was confirmed."""
    del servers
    FILE.write_text(CASE["cluster"])
    before = state()
    seen: dict[str, Any] = {"undone": director("apply", str(FILE), "--move-slices", "--confirm", "1s")[0]}
    seen["as_before"] = state() == before
    child = os.fork()
    if not child:
        os._exit(director("apply", str(FILE), "--move-slices", "--confirm", "30s")[0])
    until(lambda: Path("/var/lib/ftpdirector/manifest.json").exists() and state() != before, "it is applied")
    until(lambda: director("confirm")[0] == 0, "it is confirmed")
    _, status = os.waitpid(child, 0)
    seen["kept"] = os.waitstatus_to_exitcode(status)
    seen["different"] = state() != before
    return seen


def booted(servers: topology.Servers) -> dict[str, Any]:
    """A reboot: nothing but the saved files, loaded in systemd's order by what systemd would call."""
    del servers
    shell("kill $(cat /run/keepalived.pid) && while [ -e /run/keepalived.pid ]; do sleep .1; done")
    shell("nft flush ruleset; rm -rf /run/ftpdirector-tracks; sysctl -qw net.ipv4.ip_forward=0")
    for module in ("ip_vs_rr", "ip_vs"):
        shell(f"modprobe -r {module} || true")
    gone = newcomers(1)
    shell("grep -v '^#' /etc/modules-load.d/ftpdirector.conf | xargs -n 1 modprobe")
    shell("sysctl -q -p /etc/sysctl.d/90-ftpdirector.conf")
    shell("mkdir -p $(awk '$1 == \"d\" { print $2 }' /etc/tmpfiles.d/ftpdirector.conf)")
    unit = Path("/etc/systemd/system/ftpdirector-rules.service").read_text()
    shell(next(line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")))
    shell("keepalived --use-file=/etc/keepalived/keepalived.conf")
    wait_for_services(CASE["services"])
    return {"gone": gone, "new": newcomers(), "plan": director("plan", str(FILE))}


def state() -> str:
    """All that an apply may change."""
    table = canonical(shell("nft -s list table inet ftpdirector"))  # chains that were made anew are listed last
    files = shell("cat /etc/ftpdirector/* /etc/keepalived/*; ls /run/ftpdirector-tracks")
    return table + files + "".join(line.split(" Masq")[0] for line in sorted(ipvs().splitlines()))


STEPS = (killed, drained, restarted, full, reweighted, stood_in_for, failing, cut_short, confirmed, booted)


def main() -> None:
    WORK.mkdir(mode=0o755)
    shell("modprobe -a ip_vs")
    topology.build()
    FILE.write_text(CASE["cluster"])
    servers = topology.Servers(WORK)
    told: dict[str, Any] = {}
    try:
        for name in NAMES:
            start(servers, name)
        servers.ready(4)
        status, said = director("apply", str(FILE))
        if status:
            raise RuntimeError(said)
        wait_for_services(CASE["services"])
        for step in STEPS:
            begun = time.monotonic()
            try:
                told[step.__name__] = _with_daemon(step, servers) if step in (killed, drained) else step(servers)
            except Exception:
                told[step.__name__] = {"error": traceback.format_exc()}
            print(step.__name__, f"{time.monotonic() - begun:.1f} s", told[step.__name__], flush=True)
        told["remove"] = director("remove")
        told["left"] = left()
    finally:
        servers.stop()
    run.report(told)


def _with_daemon(step: Callable[[topology.Servers], dict[str, Any]], servers: topology.Servers) -> dict[str, Any]:
    with daemon():
        return step(servers)


if __name__ == "__main__":
    main()
