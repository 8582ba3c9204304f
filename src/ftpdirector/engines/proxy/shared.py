"""Counts that hold across worker processes: each worker writes its own part of a shared mapping, everybody sums.

The mapping is a memfd, inherited by descriptor. A worker's part is an open-addressing table of (64-bit keyed hash,
count) with a single writer, so there is no lock; a count that fell to zero leaves its entry to the next key. A key
lives within `_WINDOW` entries of its home, so that a look at an absent key is bounded. Add first, then compare with the
limit: two workers that admit at the same moment may then both refuse, but never both exceed.
This module knows neither what is counted nor what the limits are.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from typing import Final

_WINDOW: Final = 16
_ENTRY_BYTES: Final = 16


class SharedCounts:
    """Numbers by name for several processes."""

    def __init__(self, workers: int = 1, entries: int = 65536) -> None:
        """Room for `entries` names a worker (a power of two); 16 bytes each, touched as used."""
        self.workers = workers
        self._entries = entries
        self._secret = os.urandom(16)
        self.descriptor = os.memfd_create("ftpdirector-counts") if workers > 1 else -1
        self._memory: mmap.mmap | None = None
        if workers > 1:
            os.ftruncate(self.descriptor, self._size_bytes)
            self._memory = mmap.mmap(self.descriptor, self._size_bytes)

    @property
    def key(self) -> bytes:
        """The secret of the hash; whoever attaches needs it."""
        return self._secret

    @classmethod
    def attach(cls, descriptor: int, key: bytes, workers: int) -> SharedCounts:
        """The numbers that another process made, by the descriptor that it handed down."""
        counts = cls(1)
        counts.workers, counts.descriptor, counts._secret = workers, descriptor, key
        if workers > 1:
            counts._memory = mmap.mmap(descriptor, counts._size_bytes)
        return counts

    @property
    def _size_bytes(self) -> int:
        return self.workers * (self._entries + _WINDOW) * _ENTRY_BYTES

    def worker(self, index: int) -> WorkerCounts:
        """What worker `index` writes, wiped: a worker that died leaves nothing behind."""
        keys = counts = None
        if self._memory is not None:
            words = memoryview(self._memory)
            keys, counts = words.cast("Q"), words.cast("q")
            span = 2 * (self._entries + _WINDOW)
            counts[index * span : (index + 1) * span] = memoryview(bytes(span * 8)).cast("q")
        return WorkerCounts(index, self.workers, self._entries, self._secret, keys, counts)


class WorkerCounts:
    """One worker's numbers, and the sums over all workers."""

    def __init__(
        self,
        index: int,
        workers: int,
        entries: int,
        secret: bytes,
        keys: memoryview[int] | None,
        counts: memoryview[int] | None,
    ) -> None:
        """Made by `SharedCounts.worker`."""
        self._own: dict[str, int] = {}
        self._index = index
        self._others = tuple(other for other in range(workers) if other != index)
        self._entries = entries
        self._secret = secret
        self._keys = keys
        self._counts = counts

    def add(self, name: str, change: int) -> int:
        """Change this worker's number; the sum over all workers is returned."""
        own = self._own.get(name, 0) + change
        if own:
            self._own[name] = own
        else:
            self._own.pop(name, None)
        if self._keys is None:
            return own
        key = self._key(name)
        self._write(key, own)
        return own + self._sum_of_others(key)

    def own(self, name: str) -> int:
        """This worker's number."""
        return self._own.get(name, 0)

    def total(self, name: str) -> int:
        """The sum over all workers."""
        own = self._own.get(name, 0)
        return own if self._keys is None else own + self._sum_of_others(self._key(name))

    def _key(self, name: str) -> int:
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little") or 1

    def _home(self, worker: int, key: int) -> int:
        return 2 * (worker * (self._entries + _WINDOW) + key % self._entries)

    def _write(self, key: int, count: int) -> None:
        keys, counts = self._keys, self._counts
        if keys is None or counts is None:
            return
        home = self._home(self._index, key)
        spare = -1
        for place in range(home, home + 2 * _WINDOW, 2):
            if keys[place] == key:
                counts[place + 1] = count
                return
            if spare < 0 and counts[place + 1] == 0:
                spare = place
            if keys[place] == 0:
                break
        if spare >= 0 and count:
            # The key is visible before its count: a reader in between sees zero, never another key's number.
            keys[spare] = key
            counts[spare + 1] = count

    def _sum_of_others(self, key: int) -> int:
        keys, counts = self._keys, self._counts
        if keys is None or counts is None:
            return 0
        total = 0
        for worker in self._others:
            home = self._home(worker, key)
            for place in range(home, home + 2 * _WINDOW, 2):
                found = keys[place]
                if found == key:
                    total += counts[place + 1]
                    break
                if not found:
                    break
        return total
