"""In the guest: configurations as an administrator writes them by hand, each on a director of its own.

Started by `lab.guest.run.scenario` with a list of recipes; returns {name: {mode: what the strict client says}} and, for
those with steps, {name: {step: ...}}. A recipe is a value of `tests.guest.manual_recipes.Recipe` as JSON. This module
expects nothing: what holds is said by the tests that read its results.
"""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from lab.guest import directors, run
from lab.guest.directors import inside
from lab.guest.strict_client import FailedError, RefusedError, Session, attempt
from lab.guest.topology import SERVERS, SIZE, VIRTUAL, Servers

WORK = Path("/tmp/servers")
PATIENCE_S = 20.0
HANGS_S = 3.0
"""How long a client waits for what is said to hang."""
ACTIVE = ("PORT", "EPRT")

KEEPALIVED = """
virtual_server fwmark 21 {
    lb_algo rr
    lb_kind NAT
    real_server 198.51.100.11 21 {
        inhibit_on_failure
        FILE_CHECK {
            track_file alpha
        }
    }
    real_server 198.51.100.12 21 {
        inhibit_on_failure
        FILE_CHECK {
            track_file bravo
        }
    }
}
virtual_server fwmark 211 {
    lb_algo rr
    lb_kind NAT
    real_server 198.51.100.11 0 {
    }
}
virtual_server fwmark 212 {
    lb_algo rr
    lb_kind NAT
    real_server 198.51.100.12 0 {
    }
}
"""


def say(*words: object) -> None:
    print(f"[{time.monotonic():.1f}]", *words, flush=True)


def tool(words: str, text: str = "") -> None:
    """Run a tool where this thread is; its complaint becomes the error."""
    done = subprocess.run(words.split(), input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr.strip()}\n{text}")


class Place:
    """The hosts around a director, and the real servers, which are started anew when their settings change."""

    def __init__(self) -> None:
        self.servers = Servers(WORK)
        self.running: object = None

    def serve(self, recipe: dict[str, Any]) -> None:
        """The real servers with this recipe's settings. In the director, who can reach them."""
        wanted = (recipe["settings"], recipe["port"], recipe["version"])
        if wanted != self.running:
            self.servers.stop()
            for name, settings in recipe["settings"].items():
                self.servers.start(name, "vsftpd", recipe["version"], settings, recipe["port"])
            self.running = wanted
        self.servers.ready(recipe["version"], recipe["port"])

    def carry_out(self, recipe: dict[str, Any]) -> dict[str, Any]:
        directors.put("director")
        try:
            with inside("director"):
                if recipe["nft"]:
                    tool("nft -f -", recipe["nft"])
                for rule in recipe["iptables"]:
                    tool(f"iptables-legacy -w {rule}")
                if recipe["services"]:
                    tool("ipvsadm -R", "".join(f"{line}\n" for line in recipe["services"]))
                for setting, value in recipe["sysctls"].items():
                    directors.sysctl(setting, value)
                self.serve(recipe)
            if recipe["steps"]:
                return STEPS[recipe["steps"]]()
            return transfers(VIRTUAL[recipe["version"]], recipe["modes"], recipe["hangs"])
        except (RuntimeError, OSError, FailedError, RefusedError):
            return {"error": traceback.format_exc()}
        finally:
            directors.take("director")


def transfers(address: str, modes: list[str], hangs: list[str]) -> dict[str, Any]:
    """Passive modes in turn, since the scheduler counts them; active ones at once, since some take long to fail."""

    def one(mode: str) -> dict[str, object]:
        with inside("client"):
            result = attempt(address, 21, mode, SIZE, HANGS_S if mode in hangs else PATIENCE_S)
        return {**result, "went_to": went_to(result)}

    results = {mode: one(mode) for mode in modes if mode not in ACTIVE}
    active = [mode for mode in modes if mode in ACTIVE]
    with ThreadPoolExecutor(2) as threads:
        return results | dict(zip(active, threads.map(one, active), strict=True))


def went_to(result: Mapping[str, object]) -> str:
    """The real server that IPVS sent a passive data connection to, as the director's kernel tells; empty for none."""
    if "port" not in result:
        return ""
    port = f"{result['port']:04X}"
    with inside("director"):
        lines = Path("/proc/thread-self/net/ip_vs_conn").read_text().splitlines()[1:]
    for words in map(str.split, lines):
        if words[4] == port:
            address = ip_address(int(words[5], 16)) if len(words[5]) == 8 else ip_address(words[5].strip("[]"))
            return next((name for name, by_version in SERVERS.items() if str(address) in by_version.values()), "")
    return ""


class Held:
    """A client's session through the director, held while the table changes."""

    def __init__(self) -> None:
        with inside("client"):
            self.session = Session(VIRTUAL[4], 21, HANGS_S)
        self.server = next(name for name in SERVERS if name in self.session.banner)

    def retrieve(self) -> dict[str, object]:
        with inside("client"):
            try:
                return self.session.retrieve("PASV", SIZE)
            except FailedError as error:
                result = self.session.failed(error)
        return {**result, "went_to": went_to(result)}

    def noop(self) -> str:
        """What comes of a command on the control connection."""
        try:
            return self.session.ask("NOOP", "2")[:3]
        except TimeoutError:
            return "time-out"
        except ConnectionResetError:
            return "reset"
        except RefusedError as error:
            return str(error)


def ipvsadm(words: str) -> None:
    with inside("director"):
        tool(f"ipvsadm {words}")


def destinations() -> dict[str, tuple[str, int]]:
    """The real servers of service 21 in the director's kernel: address and port as ipvsadm takes them, and weight."""
    with inside("director"):
        table = Path("/proc/thread-self/net/ip_vs").read_text()
    found: dict[str, tuple[str, int]] = {}
    for block in table.split("FWM  ")[1:]:
        if int(block.split()[0], 16) == 21:
            for words in (line.split() for line in block.splitlines() if "->" in line):
                address, port = words[1].split(":")
                whole = str(ip_address(int(address, 16)))
                name = next(name for name in SERVERS if SERVERS[name][4] == whole)
                found[name] = (f"{whole}:{int(port, 16)}", int(words[3]))
    return found


def listed(name: str) -> str:
    return destinations()[name][0]


def drain() -> dict[str, Any]:
    """Weight 0 in the control service for the server of a held session."""
    held = Held()
    ipvsadm(f"-e -f 21 -r {listed(held.server)} -m -w 0")
    new = [Held().server for _ in range(3)]
    return {"drained": held.server, "new": new, "held": held.retrieve()}


def remove() -> dict[str, Any]:
    """The server of a held session taken out of the control service."""
    held = Held()
    before = held.noop()
    ipvsadm(f"-d -f 21 -r {listed(held.server)}")
    return {"before": before, "after": held.noop()}


def track_file() -> dict[str, Any]:
    """keepalived reads its verdict on a real server from a file."""
    config, verdict = WORK / "keepalived.conf", {name: WORK / f"{name}.verdict" for name in SERVERS}
    tracks = (f"track_file {name} {{\n    file {file}\n    weight 0\n}}\n" for name, file in verdict.items())
    config.write_text("".join(tracks) + KEEPALIVED)  # keepalived knows a file from where it is named on
    for file in verdict.values():
        file.write_text("0\n")
    with inside("director"), (WORK / "keepalived.log").open("wb") as log:
        daemon = subprocess.Popen(
            ["keepalived", "-n", "-l", "-C", "-f", config, "-p", WORK / "main.pid", "-c", WORK / "checkers.pid"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: [weight for _, weight in destinations().values()] == [1, 1])
        held = Held()
        begun = time.monotonic()
        verdict[held.server].write_text("1\n")
        until(lambda: destinations()[held.server][1] == 0)
        took = time.monotonic() - begun
        new = [Held().server for _ in range(3)]
        return {"drained": held.server, "took_s": took, "new": new, "held": held.retrieve()}
    finally:
        daemon.terminate()
        daemon.wait()


def until(holds: Callable[[], bool]) -> None:
    """The kernel's table has no event to wait for: look, with a deadline."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"not within {PATIENCE_S:.0f} s; {(WORK / 'keepalived.log').read_text()[-2000:]}")
        time.sleep(0.05)


STEPS = {"track_file": track_file, "drain": drain, "remove": remove}


def main() -> None:
    recipes = run.arguments()
    WORK.mkdir(mode=0o755)
    modules = "ip_vs ip_vs_rr nf_conntrack_ftp nf_nat_ftp iptable_filter xt_conntrack"
    tool(f"modprobe -a {modules}")
    directors.build()
    say("network is up")
    place = Place()
    results: dict[str, Any] = {}
    # The FTP helper is one for the whole kernel: those without it come first, and it is never unloaded.
    for recipe in sorted(recipes, key=lambda one: (one["ip_vs_ftp"], str(one["settings"]))):
        if recipe["ip_vs_ftp"]:
            tool("modprobe ip_vs_ftp")
        results[recipe["name"]] = place.carry_out(recipe)
        say(recipe["name"], "ended")
        run.report(results)
    place.servers.stop()


if __name__ == "__main__":
    main()
