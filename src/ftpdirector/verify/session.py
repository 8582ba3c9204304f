"""One verification session: log in, then LIST, MLSD, RETR, and STOR and APPE where writing is allowed.

A transfer counts only with its 2xx, the size that SIZE says, and a clean end of its data connection. This module knows
no table of results and no director.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ftpdirector.conversation import Conversation
from ftpdirector.errors import ProtocolError
from ftpdirector.ftp.replies import Reply
from ftpdirector.host.clock import HostClock
from ftpdirector.model import Endpoint
from ftpdirector.text import shown
from ftpdirector.verify.data import Mode, agree, expect

_CHUNK_BYTES: Final = 1 << 18
_LONGEST_LISTING_BYTES: Final = 1 << 22
_NAMES_TRIED: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to verify, and as whom. `upload` is the directory that may be written to."""

    target: Endpoint
    user: str
    password: str
    path: str | None = None
    upload: str | None = None
    uploaded: bytes = b""
    """What is written: the caller's random bytes."""
    upload_name: str = ""
    timeout_s: float = 10.0
    """Without any byte or reply."""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Task({self.target}, {self.user})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one operation in one mode; what the server said in it may be shown anywhere."""

    target: str
    mode: Mode
    operation: str
    good: bool
    reason: str = ""
    size_bytes: int = 0
    sha256: str = ""
    duration_s: float = 0.0
    path: str = ""
    greeting: str = ""
    real_server: str = ""


class Session:
    """One control connection, and what was found out over it."""

    def __init__(self, task: Task, mode: Mode) -> None:
        """Not connected yet."""
        self._task = task
        self._mode = mode
        self._talk = Conversation(task.target)
        self._clock = HostClock()
        self._path = task.path or ""
        self._bound: asyncio.Timeout | None = None
        self.greeting = ""

    @property
    def local(self) -> Endpoint:
        """The client's own address and port."""
        return self._talk.local

    async def run(self) -> list[Result]:
        """Every operation; after one that failed the rest is not tried, since the replies may be out of step."""
        operations = ["log in", "LIST", "RETR"] + (["STOR", "APPE"] if self._task.upload is not None else [])
        results: list[Result] = []
        while operations:
            operation = operations.pop(0)
            begin_s = self._clock.monotonic_s()
            result = await self._try(operation)
            result = replace(result, duration_s=self._clock.monotonic_s() - begin_s, greeting=shown(self.greeting))
            if operation != "log in" or not result.good:
                results.append(result)
            if not result.good:
                results += [self._result(left, good=False, reason="not tried") for left in operations]
                break
            if operation == "log in" and result.reason == "MLST":
                operations.insert(1, "MLSD")
        return results

    def leave(self) -> None:
        """QUIT, without waiting for its reply."""
        try:
            self._talk.send(b"QUIT\r\n")
        except AssertionError:
            return  # never connected
        finally:
            self._talk.close()

    async def _try(self, operation: str) -> Result:
        try:
            async with asyncio.timeout(self._task.timeout_s) as self._bound:
                match operation:
                    case "log in":
                        return await self._log_in()
                    case "LIST" | "MLSD":
                        return await self._list(operation)
                    case "RETR":
                        return await self._retrieve()
                    case _:
                        return await self._upload(operation)
        except TimeoutError:
            reason = f"{self._talk.waiting_for} took longer than {self._task.timeout_s:g} s"
        except ConnectionResetError:
            reason = f"{self._talk.waiting_for}: connection reset"
        except OSError as error:
            reason = f"{self._talk.waiting_for}: {error.strerror or error}"
        except (ProtocolError, EOFError) as error:
            reason = str(error)
        return self._result(operation, good=False, reason=reason)

    async def _log_in(self) -> Result:
        await self._talk.connect()
        greeting = await self._talk.reply("the greeting")
        self.greeting = greeting.text
        expect(greeting.code, (220,), greeting.text)
        reply = await self._talk.command(f"USER {self._task.user}")
        if reply.code == 331:
            reply = await self._talk.command(f"PASS {self._task.password}", shown="PASS")
        expect(reply.code, (230, 202), reply.text)
        features = await self._talk.command("FEAT")
        reply = await self._talk.command("TYPE I")
        expect(reply.code, (200,), reply.text)
        knows_mlst = re.search(rb"(?mi)^\s*MLST\b", features.data) is not None
        return self._result("log in", good=True, reason="MLST" if knows_mlst else "")

    async def _list(self, operation: str) -> Result:
        data = await self._download(operation, _LONGEST_LISTING_BYTES)
        return self._result(operation, good=True, reason=f"{data.count(10)} entries", size_bytes=len(data))

    async def _retrieve(self) -> Result:
        if not self._path:
            self._path = await self._choose()
        size = await self._size(self._path)
        return await self._compare("RETR", self._path, size, None)

    async def _choose(self) -> str:
        names = await self._download("NLST", _LONGEST_LISTING_BYTES)
        for name in sorted(names.decode("utf-8", "surrogateescape").splitlines())[:_NAMES_TRIED]:
            if name and await self._size(name):
                return name
        raise ProtocolError("there is no file to read where the login leads; name one with --path")

    async def _size(self, path: str) -> int | None:
        reply = await self._command(f"SIZE {path}")
        digits = reply.text[4:].strip()
        return int(digits) if reply.code == 213 and digits.isdecimal() and len(digits) < 20 else None

    async def _upload(self, operation: str) -> Result:
        path = f"{(self._task.upload or '').rstrip('/')}/{self._task.upload_name}-{self._mode}"
        half = len(self._task.uploaded) // 2
        part = self._task.uploaded[:half] if operation == "STOR" else self._task.uploaded[half:]
        await self._send(operation, path, part)
        whole = self._task.uploaded[:half] if operation == "STOR" else self._task.uploaded
        result = await self._compare(operation, path, len(whole), hashlib.sha256(whole).hexdigest())
        if operation == "APPE" or not result.good:
            await self._command(f"DELE {path}")
        return result

    async def _compare(self, operation: str, path: str, size: int | None, sha256: str | None) -> Result:
        digest = hashlib.sha256()
        got = await self._receive(f"RETR {path}", digest.update)
        found = digest.hexdigest()
        if size is not None and got != size:
            reason = f"{got} bytes came, {size} were due"
        elif sha256 is not None and found != sha256:
            reason = "what came back is not what was sent"
        else:
            reason = ""
        return self._result(operation, good=not reason, reason=reason, size_bytes=got, sha256=found, path=path)

    async def _download(self, command: str, at_most: int) -> bytes:
        data = bytearray()

        def take(chunk: bytes) -> None:
            data.extend(chunk)
            if len(data) > at_most:
                raise ProtocolError(f"{command} sends more than {at_most} bytes")

        await self._receive(command, take)
        return bytes(data)

    async def _receive(self, command: str, take: Callable[[bytes], object]) -> int:
        got = 0
        async with agree(self._talk, self._mode) as data:
            await self._begin(command)
            reader, _ = await data.streams()
            self._talk.waiting_for = f"data of {command}"
            while chunk := await reader.read(_CHUNK_BYTES):
                got += len(chunk)
                take(chunk)
                self._progress()
        await self._finish(command)
        return got

    async def _send(self, verb: str, path: str, content: bytes) -> None:
        async with agree(self._talk, self._mode) as data:
            await self._begin(f"{verb} {path}")
            _, writer = await data.streams()
            self._talk.waiting_for = f"room for the data of {verb}"
            writer.write(content)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        await self._finish(verb)

    async def _begin(self, command: str) -> None:
        reply = await self._command(command)
        expect(reply.code, (125, 150), reply.text)

    async def _finish(self, command: str) -> None:
        reply = await self._talk.reply(f"the end of {command}")
        expect(reply.code, (226, 250), reply.text)
        self._progress()

    async def _command(self, line: str) -> Reply:
        reply = await self._talk.command(line)
        self._progress()
        return reply

    def _progress(self) -> None:
        if self._bound is not None:
            self._bound.reschedule(asyncio.get_running_loop().time() + self._task.timeout_s)

    def _result(
        self,
        operation: str,
        *,
        good: bool,
        reason: str = "",
        size_bytes: int = 0,
        sha256: str = "",
        path: str = "",
    ) -> Result:
        return Result(
            target=str(self._task.target),
            mode=self._mode,
            operation=operation,
            good=good,
            reason=shown(reason),
            size_bytes=size_bytes,
            sha256=sha256,
            path=shown(path),
        )
