"""Where a key stands: for every key of a text, as tomllib has it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftpdirector.config.places import Lines, find_places
from ftpdirector.config.places import Path as InFile

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
ODD = '''\
 a = 1 # one
"b c"."d.e" = "x = 1 # no comment"
'f' = \'\'\'
[g]
h = 2\'\'\'
i = """\\"
j = 3 """
k = [ 1, # [
  "]", [2, {l = "}", m.n = [ ]}],
]
o.p = 2026-11-23 07:00:00
[ q . "r" ] # s = 1
t = { u = 1, v = "," }
[[w]]
x = 1
[w.y]
z = true
[[w.aa]]
[[w.aa]]
bb = 'c\\'
[[w]]
x = 2
'''


def leaves(value: object, path: InFile = ()) -> Iterator[tuple[InFile, object]]:
    yield path, value
    if isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            yield from leaves(one, (*path, key))
    if isinstance(value, list):
        for number, one in enumerate(cast("list[Any]", value)):
            yield from leaves(one, (*path, number))


def insist(text: str) -> None:
    places = find_places(text)
    for path, value in leaves(tomllib.loads(text)):
        if not path:
            continue
        assert path in places.values, path
        at = places.values[path]
        rest = text[at:]
        if isinstance(value, dict | list) and not rest.startswith(("{", "[")):
            continue  # made by a dotted key: its place is the key's
        if path[-1] in ("w", "aa", "y", "q", "r") or rest.startswith("[["):
            continue  # a header
        if not isinstance(value, dict) or rest.startswith("{"):
            assert _begins_with(rest, value), (path, rest[:40])


def _begins_with(text: str, value: object) -> bool:
    """Whether the value is what a text begins with: the longest beginning that tomllib takes."""
    for end in range(len(text), 0, -1):
        try:
            if tomllib.loads(f"x = {text[:end]}")["x"] == value:
                return True
        except (tomllib.TOMLDecodeError, KeyError):
            continue
    return False


def test_every_form_of_toml_has_its_places() -> None:
    insist(ODD)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_key_of_an_example_is_found(path: Path) -> None:
    text = path.read_text()
    places = find_places(text)
    lines = Lines(text)
    for where, value in leaves(tomllib.loads(text)):
        if where and not isinstance(value, dict | list):
            if isinstance(where[-1], str):
                line, column = lines.place(places.keys[where])
                assert lines.line(line)[column - 1 :].startswith(where[-1]), where
            line, column = lines.place(places.values[where])
            assert lines.line(line)[column - 1 :].startswith(json.dumps(value)), where


KEYS = st.sampled_from(["a", "b", '"c d"', "'e'"])
SCALARS = st.sampled_from(["1", '"x"', "''", "true", '"a # b"', "1.5", "2026-11-23", '"\\""', "[1, 2]", "{ a = 1 }"])
PAIRS = st.builds(
    "{} = {}".format, KEYS, SCALARS | st.lists(SCALARS, max_size=3).map(lambda one: f"[{', '.join(one)}]")
)
HEADERS = st.builds("[{}]".format, KEYS) | st.builds("[[{}]]".format, KEYS) | st.builds("[[{}.{}]]".format, KEYS, KEYS)


@settings(max_examples=300)
@given(st.lists(PAIRS | HEADERS | st.just("# c = 1") | st.just(""), max_size=12).map("\n".join))
def test_what_tomllib_takes_is_found(text: str) -> None:
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        find_places(text)
        return
    places = find_places(text)
    assert {path for path, _ in leaves(raw) if path} <= set(places.values)


@given(st.text(max_size=100) | st.text(alphabet="[]{}=\"'.#,\\ \na1", max_size=60))
def test_any_text_ends_the_walk(text: str) -> None:
    places = find_places(text)
    assert all(0 <= offset <= len(text) for offset in (*places.keys.values(), *places.values.values()))
