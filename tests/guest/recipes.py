"""In the guest: configurations as an administrator writes them by hand, each on a director of its own.

Started by `lab.guest.run.scenario` with a list of recipes; returns {name: {mode: what the strict client says}} and, for
those with steps, {name: {step: ...}}. A recipe is a value of `tests.guest.test_recipe_table.Recipe` as JSON. This module
expects nothing: what holds is said by the tests that read its results.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
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
    """Passive modes one after the other: the scheduler counts. Active ones at once: they wait, and count for nothing."""

    def one(mode: str) -> dict[str, object]:
        with inside("client"):
            return attempt(address, 21, mode, SIZE, HANGS_S if mode in hangs else PATIENCE_S)

    results = {mode: one(mode) for mode in modes if mode not in ACTIVE}
    active = [mode for mode in modes if mode in ACTIVE]
    with ThreadPoolExecutor(2) as threads:
        return results | dict(zip(active, threads.map(one, active), strict=True))


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
                return {"works": False, "at": error.at, "cause": error.cause, "why": error.why}

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


def drain() -> dict[str, Any]:
    """Weight 0 in the control service for the server of a held session."""
    held = Held()
    ipvsadm(f"-e -f 21 -r {SERVERS[held.server][4]}:0 -m -w 0")
    new = [Held().server for _ in range(3)]
    return {"drained": held.server, "new": new, "held": held.retrieve()}


def remove() -> dict[str, Any]:
    """The server of a held session taken out of the control service."""
    held = Held()
    before = held.noop()
    ipvsadm(f"-d -f 21 -r {SERVERS[held.server][4]}:0")
    return {"before": before, "after": held.noop()}


STEPS = {"drain": drain, "remove": remove}


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
    sys.exit(main())
