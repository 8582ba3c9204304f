"""Two texts for `nft --file`, each carried out whole or not at all: a table from nothing, and from one to the next.

A change touches what differs and nothing else. What packets have put into dynamic sets and maps stays, as long as the
set is wanted in the same form. This module runs no program; what the kernel has is the caller's word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from ftpdirector.nft.objects import Chain, Object, Set, Table, format_element, format_table, kind_of

_REFERENCE: Final = re.compile(r'@(\S+)|(?:counter name|helper set) "(\S+)"|(?:jump|goto) (\S+)')


_Kind = TypeVar("_Kind", bound=Object)


def boot_file(table: Table) -> str:
    """The file that makes the whole table anew, whether it is there or not; what packets put into it is lost."""
    return f"add table {table.name}\ndelete table {table.name}\n{format_table(table)}"


def transaction(before: Table, after: Table) -> str:
    """The change from one table to another; empty when there is none."""
    return "".join(f"{line}\n" for line in _Change.between(before, after).lines())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """Both tables by kind and name, and what is to go and to come."""

    table: str
    gone: Mapping[str, Object]
    come: Mapping[str, Object]
    kept: Mapping[str, tuple[Object, Object]]
    named: frozenset[str]
    """The names of what is to go and that a rule may say."""

    @staticmethod
    def between(before: Table, after: Table) -> _Change:
        had, want = _objects(before), _objects(after)
        same = {
            key: (had[key], new)
            for key, new in want.items()
            if key in had and (had[key] is new or list(had[key].definition()) == list(new.definition()))
        }
        return _Change(
            table=after.name,
            gone={key: old for key, old in had.items() if key not in same},
            come={key: new for key, new in want.items() if key not in same},
            kept=same,
            named=frozenset(old.name for key, old in had.items() if key not in same and key in want),
        )

    def lines(self) -> Iterator[str]:
        """Nothing is deleted while a rule or an element still names it, and nothing named before it is there."""
        changed = [(old, new) for old, new in self._chains() if self._is_changed(old, new)]
        for chain in (*(old for old, _ in changed), *_of(Chain, self.gone)):
            yield f"flush chain {self.table} {chain.name}"
        for old_set, new_set in self._sets():
            yield from self._elements("delete", new_set.name, _without(old_set, new_set))
        for obj in sorted(self.gone.values(), key=_by_dependence):
            yield f"delete {kind_of(obj)} {self.table} {obj.name}"
        for obj in sorted(self.come.values(), key=_by_dependence, reverse=True):
            yield self._add(obj)
        for added_set in _of(Set, self.come):
            yield from self._elements("add", added_set.name, added_set.elements)
        for old_set, new_set in self._sets():
            yield from self._elements("add", new_set.name, _without(new_set, old_set))
        for chain in (*_of(Chain, self.come), *(new for _, new in changed)):
            for rule in chain.rules:
                yield f"add rule {self.table} {chain.name} {rule.text}"

    def _chains(self) -> Iterator[tuple[Chain, Chain]]:
        for old, new in self.kept.values():
            if isinstance(old, Chain) and isinstance(new, Chain):
                yield old, new

    def _sets(self) -> Iterator[tuple[Set, Set]]:
        for old, new in self.kept.values():
            if old is not new and isinstance(old, Set) and isinstance(new, Set) and not new.is_dynamic:
                yield old, new

    def _is_changed(self, old: Chain, new: Chain) -> bool:
        if old is not new and [rule.text for rule in old.rules] != [rule.text for rule in new.rules]:
            return True
        # What is deleted and made anew under the same name must be named anew as well.
        return bool(self.named) and not self.named.isdisjoint(_named_by(old))

    def _add(self, obj: Object) -> str:
        definition = "; ".join(line.removesuffix(";") for line in obj.definition())
        return f"add {kind_of(obj)} {self.table} {obj.name}" + (f" {{ {definition}; }}" if definition else "")

    def _elements(self, verb: str, name: str, elements: Mapping[str, str]) -> Iterator[str]:
        if elements:
            listed = ", ".join(format_element(key, value) for key, value in elements.items())
            yield f"{verb} element {self.table} {name} {{ {listed} }}"


def _objects(table: Table) -> dict[str, Object]:
    return {f"{kind_of(obj)} {obj.name}": obj for obj in table.objects}


def _of(kind: type[_Kind], objects: Mapping[str, Object]) -> list[_Kind]:
    return [obj for obj in objects.values() if isinstance(obj, kind)]


def _by_dependence(obj: Object) -> int:
    """Elements of maps name chains; rules name everything, and are gone by then or not there yet."""
    return 0 if isinstance(obj, Set) else 1


def _without(nft_set: Set, other: Set) -> dict[str, str]:
    """The elements of one set that another lacks, or has with another value."""
    return {key: value for key, value in nft_set.elements.items() if other.elements.get(key) != value}


def _named_by(chain: Chain) -> set[str]:
    return {name for rule in chain.rules for found in _REFERENCE.findall(rule.text) for name in found if name}
