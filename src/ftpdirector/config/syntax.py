"""TOML that cannot be read: what the slip is, in words of the cluster file, and what to write instead.

tomllib stops at the first slip and words it for people who know TOML's grammar. Here a line `key = value` that cannot
be read is set aside, so that the rest of the file is judged in the same pass.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any, Final

from ftpdirector.config.document import TABLES, Kind
from ftpdirector.config.places import Lines
from ftpdirector.config.values import visible

UNREADABLE: Final = "\0unreadable"
"""The value of a key whose line was set aside; only where there are slips."""
_SET_ASIDE: Final = ' "\\u0000unreadable"'
_MOST_SLIPS: Final = 50
_MOST_READ_AGAIN: Final = 5_000_000
"""Characters: each slip reads the text once more."""
_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_PAIR: Final = re.compile(r"([ \t]*([A-Za-z0-9_.-]+)[ \t]*=)[ \t]*(.*?)[ \t\r]*\Z")
_YAML: Final = re.compile(r"[ \t]*(- |---|([A-Za-z0-9_]+)[ \t]*:(?:[ \t](.*)|\r?\Z))")
_SOME_TOML: Final = re.compile(r"^[ \t]*(\[[^\n]*\]|[A-Za-z0-9_.-]+[ \t]*=)", re.MULTILINE)
_QUOTED_OR_PLAIN: Final = re.compile(r"\"[^\"]*\"|'[^']*'|0|[1-9][0-9]*|true|false")
_NO_EQUALS: Final = re.compile(r"[ \t]*([A-Za-z0-9_]+)[ \t]+([^ \t={][^={]*?)[ \t\r]*")
_OPEN_LITERAL: Final = re.compile(r"^[^='\"#\n]*=[ \t]*()'[^'\n]*$", re.MULTILINE)
_OPEN_LIST: Final = re.compile(r"^[^='\"#\n]*=[ \t]*()[\[{]", re.MULTILINE)
_NO_QUOTE: Final = 'Expected "\'"'
_NO_QUOTES: Final = ("Expected \"'''", "Unterminated string")
_BARE: Final = re.compile(r"[A-Za-z0-9_./:@\[\]*+-]+")
_MANY_DIGITS: Final = re.compile(r"[0-9_]{4000}")
_COMMENT: Final = re.compile(r"[ \t]*#.*")
_SWITCHES: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_LIST_TABLES: Final = {
    key.table.header for table in TABLES for key in table.keys.values() if key.table and key.kind is Kind.TABLES
}


@dataclass(frozen=True, slots=True)
class Slip:
    """One place where the text is not TOML."""

    line: int
    column: int
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What tomllib made of a text (`text`: without the lines that were set aside), and the slips."""

    raw: dict[str, Any] | None
    text: str
    slips: tuple[Slip, ...]


def read_toml(text: str) -> Reading:
    """The values of a TOML text; None for them where so much is wrong that nothing else can be judged."""
    slips: list[Slip] = []
    most_slips = min(_MOST_SLIPS, 2 + _MOST_READ_AGAIN // (len(text) + 1))
    while True:
        try:
            return Reading(tomllib.loads(text), text, tuple(slips))
        except RecursionError:
            slips.append(Slip(1, 1, "is not TOML: lists or tables are nested too deep", "write plain values"))
        except tomllib.TOMLDecodeError as error:
            slip, rest = _explain(str(error), text)
            slips.append(slip)
            if rest is not None and len(slips) < most_slips:
                text = rest
                continue
        except ValueError:  # tomllib passes int()'s own refusal of a very long number through
            line, column = Lines(text).place(found.start() if (found := _MANY_DIGITS.search(text)) else 0)
            slips.append(Slip(line, column, "a number has too many digits", "write a smaller one"))
        return Reading(None, text, tuple(slips))


@dataclass(frozen=True, slots=True)
class _Spot:
    """Where tomllib stopped, or where what it missed the end of begins."""

    text: str
    number: int
    start: int
    """Of the line, in the text."""
    line: str
    column: int
    pair: re.Match[str] | None

    def with_line(self, line: str) -> str:
        """The text with another line in the place of this one."""
        return self.text[: self.start] + line + self.text[self.start + len(self.line) :]


def _spot(text: str, offset: int) -> _Spot:
    number, column = Lines(text).place(offset)
    start = offset - column + 1
    end = text.find("\n", start)
    line = text[start : end if end >= 0 else len(text)].rstrip("\r")
    return _Spot(text, number, start, line, column, _PAIR.match(line))


def _explain(message: str, text: str) -> tuple[Slip, str | None]:
    """The slip that tomllib tells of, and the text without it if only a value is lost."""
    position = _POSITION.search(message)
    plain = message[: position.start()] if position else message
    offset = Lines(text).offset(int(position[1]), int(position[2])) if position and position[1] else len(text)
    spot = _spot(text, _opening(plain, text, offset))
    what, remedy, column, line = _words(plain, spot)
    return Slip(spot.number, column, what, remedy), None if line is None else spot.with_line(line)


def _opening(plain: str, text: str, offset: int) -> int:
    """Where what is not closed begins: tomllib tells where it missed the end."""
    if plain == _NO_QUOTE:
        return found.start(1) if (found := _OPEN_LITERAL.search(text)) else offset
    if plain.startswith(_NO_QUOTES) and offset == len(text):
        return max(text.rfind("'''"), text.rfind('"""'), 0)
    if plain.startswith("Unclosed"):
        openings = list(_OPEN_LIST.finditer(text, 0, offset))
        return openings[-1].start(1) if openings else offset
    return offset


_Words = tuple[str, str, int, str | None]
"""What is wrong, what to write, the column where it is, and the line with which the rest can be read, if it can."""


def _words(plain: str, spot: _Spot) -> _Words:
    line, column, pair = spot.line, spot.column, spot.pair
    begin = len(line) - len(line.lstrip()) + 1
    aside = pair[1] + _SET_ASIDE if pair and pair[3] != _SET_ASIDE.strip() else None
    if plain.startswith(("Expected '='", "Invalid statement")) and (yaml := _YAML.match(line)):
        return _colon(spot, yaml, begin)
    if plain.startswith("Cannot") and line.lstrip().startswith("["):
        return *_twice(spot), begin, _twin(spot)
    if plain.startswith(("Cannot", "Duplicate")):
        name = f'"{visible(pair[2])}"' if pair else "a key"
        return f"{name} is written twice in one table", "keep one of them", begin, "#" if pair else None
    if plain.startswith("Illegal character") and (plain.endswith(r"'\n'") or column > len(line)):
        return *_open_quote(line, column, '"'), aside
    if plain == _NO_QUOTE:
        return *_open_quote(line, len(line) + 1, "'"), aside
    if plain.startswith(_NO_QUOTES):
        return "the quotation marks are not closed", "write the closing ones", column, None
    if plain.startswith("Illegal character"):
        return "an invisible character stands here", "remove it", column, aside
    if plain.startswith("Expected ']"):
        return "the header of a table is not closed", f"write {_closed(line)}", begin, _closed(line)
    if plain.startswith("Unclosed"):
        kind = "list" if "array" in plain else "table"
        return f"the {kind} is not closed", f"end it with {']' if kind == 'list' else '}'}", column, None
    if plain.startswith(("Unescaped", "Invalid hex")):
        return "a backslash in quotation marks begins an escape", r"write \\ for one backslash", column, aside
    if pair and plain.startswith(("Invalid value", "Expected newline", "Invalid date")):
        value_column = len(line) - len(line[len(pair[1]) :].lstrip()) + 1
        return *_value(pair[2], pair[3]), value_column, aside
    if plain.startswith("Expected newline"):
        return "something follows on the line", "write headers and keys on a line of their own", column, None
    if plain.startswith("Expected '='") and (bare := _NO_EQUALS.fullmatch(line)) and _SOME_TOML.search(spot.text):
        said = f"write {bare[1]} = {_as_value(bare[2])}"
        return "there is no = behind the key", said, begin, f"{bare[1]} ={_SET_ASIDE}"
    if plain.startswith(("Invalid statement", "Expected '='", "Invalid initial")):
        return *_statement(line.strip()), begin, None
    return f"is not TOML: {plain[:1].lower()}{visible(plain[1:])}", "", column, aside


def _colon(spot: _Spot, yaml: re.Match[str], begin: int) -> _Words:
    """A file of YAML, or one line as YAML would have it."""
    key, value = yaml[2], visible((yaml[3] or "").strip())
    if key is None or not _SOME_TOML.search(spot.text, 0, spot.start):
        return "is not TOML: this looks like YAML", _SHAPE, begin, None
    if not value:
        return f'"{key}:" is not TOML', f"write {key} = and a value, or [{key}] above its keys", begin, None
    return f'"{key}:" is not TOML', f"write {key} = {_as_value(value)}", begin, f"{key} ={_SET_ASIDE}"


def _as_value(text: str) -> str:
    text = visible(text.strip())
    return text if _QUOTED_OR_PLAIN.fullmatch(text) else f'"{text}"'


_SHAPE: Final = (
    "a cluster file is TOML: write [[virtual_server]] above the keys of a virtual server, and each key as key = value"
)


def _twice(spot: _Spot) -> tuple[str, str]:
    header = _COMMENT.sub("", spot.line).strip()
    name = visible(header.strip("[] \t"))
    before = re.search(rf"^[ \t]*\[+[ \t]*{re.escape(name)}[ \t]*\]", spot.text[: spot.start], re.MULTILINE)
    already = f"in line {Lines(spot.text).place(before.start())[0]} already" if before else "already"
    if f"[[{name}]]" in _LIST_TABLES:
        below = re.search(rf"^[ \t]*(\[+{re.escape(name)}\..*)", spot.text[: spot.start], re.MULTILINE)
        if header.startswith("[[") and below and not before:
            line = Lines(spot.text).place(below.start(1))[0]
            return (
                f"{visible(below[1][:80].strip())} stands before it, in line {line}",
                f"write it below its [[{name}]]",
            )
        if header.startswith("[["):
            return f"[{name}] stands {already}, with one bracket", f"write [[{name}]] there, too"
        return f"[{name}] stands {already}", f"write [[{name}]], with two brackets, for each of them"
    return f"[{name}] stands {already}", f"write one [{name}] with all its keys below"


def _twin(spot: _Spot) -> str | None:
    """Another name for a table that stands twice; None where tables below it would go astray."""
    name = _COMMENT.sub("", spot.line).strip("[] \t\r")
    return None if f"[[{name}]]" in _LIST_TABLES or UNREADABLE[1:] in name else f'["\\u0000unreadable {spot.number}"]'


def _closed(line: str) -> str:
    name = visible(_COMMENT.sub("", line).strip("[] \t\r"))
    return f"[[{name}]]" if line.lstrip().startswith("[[") else f"[{name}]"


def _open_quote(line: str, column: int, mark: str) -> tuple[str, str, int]:
    opening = line.rfind(mark, 0, column - 1)
    return "the quotation mark is not closed", f"write the closing {mark} on the same line", max(opening, 0) + 1


def _value(key: str, value: str) -> tuple[str, str]:
    plain = _COMMENT.sub("", value)
    said = plain.rstrip(",; \t")
    if not plain:
        return f"{key} has no value", "write one after the ="
    if plain[0] in "“”„«‘’‚":
        return (
            "these are typographic quotation marks",
            f'write straight ones: {key} = "{visible(plain.strip("“”„«»‘’‚"))}"',
        )
    if said in ("true", "false"):
        return f'"{plain[len(said) :]}" follows the value', f"write {key} = {said}"
    if said.lower() in ("true", "false"):
        return f"{said} cannot be used", f"write {said.lower()}, in small letters"
    if said.lower() in _SWITCHES:
        return f"{said} cannot be used", f"write {_SWITCHES[said.lower()]}"
    if re.fullmatch(r"0[0-9]+", said):
        return f"{said} begins with 0", f"write {key} = {said.lstrip('0') or '0'}"
    if said != plain and re.fullmatch(r"[0-9]+|\"[^\"]*\"|\[[^\]]*\]", said):
        return f'"{plain[len(said) :]}" follows the value', f"write {key} = {visible(said)}"
    if "//" in value or ";" in value:
        return "something follows the value", "begin a comment with #"
    if _BARE.fullmatch(said):
        return f"{said} cannot be used", f'put it in quotation marks: {key} = "{said}"'
    if plain[0] in "\"'":
        return "something follows the value", "write one key = value on a line"
    return f"{visible(plain[:60])} cannot be used", "put a text in quotation marks"


def _statement(line: str) -> tuple[str, str]:
    if line.startswith(("//", ";", "--", "/*")):
        return "is not TOML", "begin a comment with #"
    if line.startswith("{"):
        return "is not TOML: this looks like JSON", _SHAPE
    if line.startswith("<"):
        return "is not TOML: this looks like XML", _SHAPE
    return "is neither a key with a value nor the header of a table", "write key = value, or [table]"
