"""In the guest: each case is a cluster file that is applied, transfers in every mode, and the host left as found.

A case: {"name", "cluster" (text), "version" 4 or 6, "port", "modes", "sessions" (each mode so often), "services" (in
IPVS), "servers": {name: {"kind", "settings", "port"}}, "direct", and shell: "before" apply, "after" remove}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from lab.guest import run, topology

from ftpdirector import cli

CLIENT = topology.ROOT / "lab/guest/strict_client.py"
PATIENCE_S = 20.0


def say(*words: object) -> None:
    print(f"[{time.monotonic():.1f}]", *words, flush=True)


def shell(script: str) -> str:
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    return f"{done.stdout}{done.stderr}" + (f"(status {done.returncode})" if done.returncode else "")


def director(*words: str) -> tuple[int, str]:
    """One command line, in a process of its own as ever; forked from this one, since a fresh start takes 7 s here."""
    output = Path(f"/tmp/said.{os.getpid()}")
    with output.open("w") as file:
        file.flush()
        child = os.fork()
        if not child:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            status = cli.execute(words)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()


def ipvs() -> str:
    """The kernel's table; empty without the module."""
    table = Path("/proc/net/ip_vs")
    return table.read_text() if table.exists() else ""


def wait_for_services(count: int) -> None:
    """Until keepalived has put as many services with a real server into IPVS."""
    end = time.monotonic() + PATIENCE_S
    while True:
        table = ipvs()
        blocks = table.split("FWM")[1:]
        if len(blocks) == count and all("->" in block for block in blocks):
            return
        if time.monotonic() > end:
            raise RuntimeError(f"IPVS does not have {count} services:\n{table}")
        time.sleep(0.1)


def transfers(case: dict, address: str) -> list[dict]:
    words = [sys.executable, str(CLIENT), address, str(case.get("port", 21)), str(topology.SIZE)]
    modes = case["modes"] * case.get("sessions", 1)
    done = subprocess.run(
        ["ip", "netns", "exec", "client", *words, *modes], capture_output=True, text=True, check=False, timeout=200
    )
    if done.stderr:
        say(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def carry_out(case: dict, work: Path) -> dict:
    file = work / "cluster.toml"
    file.write_text(case["cluster"])
    version = case.get("version", 4)
    servers = topology.Servers(work)
    result: dict = {}
    try:
        for name, server in case["servers"].items():
            servers.start(name, server["kind"], version, server["settings"], server.get("port", 21))
        servers.ready(version, next(iter(case["servers"].values())).get("port", 21))
        result["before"] = shell(case.get("before", ""))
        status, said = director("apply", str(file))
        result["apply"] = {"status": status, "said": said}
        say(case["name"], "applied", status)
        if status:
            return result
        wait_for_services(case["services"])
        result["after_apply"] = shell("cat /etc/keepalived/keepalived.conf; nft list ruleset")
        result["transfers"] = transfers(case, topology.VIRTUAL[version])
        say(case["name"], "transfers", sum(one["works"] for one in result["transfers"]), "of", len(result["transfers"]))
        result["ipvs"] = ipvs()
        if case.get("again"):
            result["again"] = dict(zip(("status", "said"), director("apply", str(file)), strict=True))
            result["plan"] = dict(zip(("status", "said"), director("plan", str(file)), strict=True))
    except (RuntimeError, OSError, subprocess.SubprocessError):
        result["error"] = traceback.format_exc()
        say(result["error"])
    finally:
        if case.get("remove", True):
            result["remove"] = dict(zip(("status", "said"), director("remove"), strict=True))
            result["left"] = left()
            result["kept"] = shell("cat /etc/keepalived/keepalived.conf 2>/dev/null || true")
            shell("rm -f /etc/keepalived/keepalived.conf; " + case.get("after", "true"))
            say(case["name"], "removed", result["remove"]["status"])
        servers.stop()
    return result


def left() -> dict:
    """What a director leaves on a host: nothing, if it was removed well."""
    end = time.monotonic() + 5
    while "FWM" in ipvs() and time.monotonic() < end:
        time.sleep(0.1)
    return {
        "services": ipvs().count("FWM"),
        "nft": shell("nft list tables | grep ftpdirector || true"),
        "iptables": shell("{ iptables-save; ip6tables-save; } 2>/dev/null | grep FTPDIRECTOR || true"),
        "files": shell("find /etc /var/lib/ftpdirector -name '*ftpdirector*' ! -name ftpdirector 2>/dev/null || true"),
    }


def main() -> None:
    cases = run.arguments()
    results: dict[str, dict] = {}
    work = Path("/tmp/servers")
    work.mkdir(mode=0o755)
    shell("modprobe -a ip_vs dummy")
    cli.application()  # loads every command, once
    topology.build(direct=cases[0].get("direct", False))
    say("network is up")
    for case in cases:
        results[case["name"]] = carry_out(case, work)
        run.report(results)


if __name__ == "__main__":
    main()
