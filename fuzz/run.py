"""Run every fuzz target for its share of the time, two at once; exits 1 when one of them finds something.

    python fuzz/run.py --seconds 60

A target is a function of fuzz_*.py that its TARGETS names; its seeds lie in fuzz/seeds/<target>. New inputs are kept in
build/fuzz/<target>, so that the next run goes on from there; what breaks a target is printed and kept there too.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
AT_ONCE = 2


def targets() -> Iterator[tuple[Path, str]]:
    """Each program and the names in its table TARGETS, read without importing it."""
    for program in sorted(HERE.glob("fuzz_*.py")):
        for node in ast.parse(program.read_text()).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                name = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(name, ast.Name) and name.id == "TARGETS":
                    yield from ((program, str(ast.literal_eval(key))) for key in node.value.keys if key)


def fuzz(program: Path, target: str, seconds: int) -> bool:
    """True when nothing was found."""
    corpus = HERE.parent / "build" / "fuzz" / target
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = [str(HERE / "seeds" / target)] if (HERE / "seeds" / target).is_dir() else []
    done = subprocess.run(
        [
            sys.executable, str(program), target, str(corpus), *seeds, f"-max_total_time={seconds}",
            f"-artifact_prefix={corpus}/found-", "-timeout=10", "-rss_limit_mb=2048",
        ],
        capture_output=True, text=True, check=False, timeout=seconds + 120,
    )  # fmt: skip
    last = next((line for line in reversed(done.stderr.splitlines()) if "exec/s" in line or "Done" in line), "")
    print(f"{'ok    ' if done.returncode == 0 else 'FOUND '} {target:12} {last}", flush=True)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", flush=True)
    return done.returncode == 0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    every = list(targets())
    share = max(parser.parse_args().seconds * AT_ONCE // len(every), 3)
    print(f"{len(every)} targets, {share} s each, {AT_ONCE} at once", flush=True)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return int(not all(pool.map(lambda one: fuzz(*one, share), every)))


if __name__ == "__main__":
    sys.exit(main())
