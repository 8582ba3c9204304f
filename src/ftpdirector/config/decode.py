"""The text of a cluster file -> a Cluster, or every problem at once, each with its place and its remedy.

This module knows no rule across fields (`rules`) and no engine.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ftpdirector.config.document import Document, VirtualServerTable
from ftpdirector.config.rules import problems_of, warnings_of
from ftpdirector.errors import ConfigError, Problem
from ftpdirector.model import (
    Cluster,
    Director,
    Engine,
    HealthCheck,
    HostSettings,
    Placement,
    RealServer,
    Timeouts,
    VirtualServer,
    Vrrp,
)

LARGEST_FILE_BYTES = 16 * 1024 * 1024
_PERSISTENCE_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A cluster file that can be used, and what works in it but bites."""

    cluster: Cluster
    warnings: tuple[Problem, ...]


def load(path: Path) -> Loaded:
    """Read and decode a cluster file; a ConfigError names every problem, also that it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            [Problem(where=str(path), what=f"cannot be read: {error.strerror}", rule="readable")]
        ) from None
    if len(data) > LARGEST_FILE_BYTES:
        raise ConfigError([Problem(where=str(path), what=f"is larger than {LARGEST_FILE_BYTES} bytes", rule="size")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [Problem(where=f"{path.name}:{line}", what="is not UTF-8", remedy="save it as UTF-8", rule="utf-8")]
        ) from None
    cluster = decode(text, source=path.name)
    return Loaded(cluster=cluster, warnings=warnings_of(cluster, source=path.name))


def decode(text: str, *, source: str) -> Cluster:
    """A Cluster that keeps every rule; else a ConfigError with all problems. `source` names the file in them."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError([Problem(where=source, what=f"is not TOML: {error}", rule="toml")]) from None
    except ValueError as error:  # tomllib passes int()'s own refusal of a very long number through
        raise ConfigError([Problem(where=source, what=f"is not TOML: {error}", rule="toml")]) from None
    try:
        document = Document.model_validate(raw)
    except ValidationError as error:
        raise ConfigError([_problem(detail, raw, source) for detail in error.errors(include_url=False)]) from None
    cluster = _cluster(document)
    problems = problems_of(cluster, source=source)
    if problems:
        raise ConfigError(problems)
    return cluster


def _problem(detail: ErrorDetails, raw: dict[str, Any], source: str) -> Problem:
    where = f"{source}: {_place(detail['loc'], raw)}"
    context: dict[str, Any] = detail.get("ctx") or {}
    match detail["type"]:
        case "missing":
            return Problem(where=where, what="is missing", rule="missing-key")
        case "extra_forbidden":
            return Problem(
                where=where, what="is not a key of the cluster file", remedy=_nearest(detail), rule="unknown-key"
            )
        case "value_error":
            return Problem(where=where, what=_given(detail), remedy=str(context["error"]), rule="value")
        case "enum" | "literal_error":
            allowed = str(context["expected"]).replace("'", '"')
            return Problem(where=where, what=_given(detail), remedy=f"write {allowed}", rule="value")
        case "string_pattern_mismatch":
            return Problem(
                where=where,
                what=_given(detail),
                remedy="use letters, digits, '.', '_' and '-', at most 64",
                rule="name",
            )
        case "greater_than_equal":
            return Problem(where=where, what=_given(detail), remedy=f"write at least {context['ge']}", rule="value")
        case "less_than_equal":
            return Problem(where=where, what=_given(detail), remedy=f"write at most {context['le']}", rule="value")
        case "int_type" | "int_parsing" | "int_from_float":
            return Problem(
                where=where, what=_given(detail), remedy="write a whole number without quotation marks", rule="type"
            )
        case "greater_than":
            return Problem(where=where, what=_given(detail), remedy=f"write more than {context['gt']:g}", rule="value")
        case "too_short":
            return Problem(where=where, what="is empty", remedy="name at least one", rule="value")
        case _:
            return Problem(where=where, what=_given(detail), remedy=detail["msg"].lower(), rule="type")


def _given(detail: ErrorDetails) -> str:
    text = repr(detail["input"])
    return f"{text if len(text) < 60 else text[:57] + '...'} cannot be used"


def _place(location: Sequence[int | str], raw: dict[str, Any]) -> str:
    """`virtual_server "ftp": real_server "alpha": weight`: tables of a list by their names, or else by their number."""
    parts: list[str] = []
    value: object = raw
    for step in location:
        value = _within(value, step)
        if isinstance(step, int):
            name = _within(value, "name")
            parts[-1] += f' "{name}"' if isinstance(name, str) else f" number {step + 1}"
        else:
            parts.append(step)
    return ": ".join(parts)


def _within(value: object, step: int | str) -> object:
    try:
        return cast("Any", value)[step]
    except (KeyError, IndexError, TypeError):
        return None


def _nearest(detail: ErrorDetails) -> str:
    table: type[BaseModel] = Document
    for step in detail["loc"][:-1]:
        if isinstance(step, str):
            table = _table_of(table, step)
    known = list(table.model_fields)
    near = get_close_matches(str(detail["loc"][-1]), known, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(known)}"


def _table_of(table: type[BaseModel], key: str) -> type[BaseModel]:
    field = table.model_fields.get(key)
    candidates: list[Any] = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return table


def _cluster(document: Document) -> Cluster:
    return Cluster(
        engine=document.engine,
        workers=document.workers,
        transfer_log=document.transfer_log,
        status_listen=document.status.listen if document.status else None,
        virtual_servers=tuple(_virtual_server(table, document.engine) for table in document.virtual_server),
        directors=tuple(
            Director(name=one.name, address=one.address, priority=one.priority) for one in document.director
        ),
        vrrp=Vrrp(virtual_router_id=document.vrrp.virtual_router_id, sync_id=document.vrrp.sync_id),
        host=HostSettings(
            external_interface=document.host.external_interface,
            internal_interface=document.host.internal_interface,
            packet_filter=document.host.packet_filter,
        ),
    )


def _virtual_server(table: VirtualServerTable, engine: Engine) -> VirtualServer:
    by_placement = _PERSISTENCE_S if table.placement is Placement.PERSISTENCE and engine is not Engine.PROXY else 0.0
    granularity = table.persistence_granularity
    check, wait = table.health_check, table.timeouts
    return VirtualServer(
        name=table.name,
        addresses=table.address,
        port=table.port,
        passive_ports=table.passive_ports,
        slices=table.slices,
        placement=table.placement,
        forwarding=table.forwarding,
        scheduler=table.scheduler,
        persistence_timeout_s=by_placement if table.persistence_timeout is None else table.persistence_timeout,
        # A prefix longer than an IPv4 address is meant for IPv6 only.
        persistence_granularity_v4=32 if granularity is None else min(granularity, 32),
        persistence_granularity_v6=128 if granularity is None else granularity,
        firewall_mark=table.firewall_mark,
        gateway_addresses=table.gateway_address or (),
        idle_timeout_s=table.idle_timeout,
        max_sessions=table.max_sessions,
        max_sessions_per_client=table.max_sessions_per_client,
        client_prefix_ipv6=table.client_prefix_ipv6,
        proxy_protocol=table.proxy_protocol,
        data_to_server=table.data_to_server,
        timeouts=Timeouts(
            connect_s=wait.connect,
            greeting_s=wait.greeting,
            data_connection_s=wait.data_connection,
            answer_s=wait.answer,
            login_s=wait.login,
            reply_s=wait.reply,
            early_command_s=wait.early_command,
            upload_grace_s=wait.upload_grace,
        ),
        health_check=HealthCheck(
            probe=check.probe,
            user=check.user,
            password_file=check.password_file,
            path=check.path,
            interval_s=check.interval,
            timeout_s=check.timeout,
            rise=check.rise,
            fall=check.fall,
        ),
        real_servers=tuple(
            RealServer(
                name=one.name,
                address=one.address,
                port=one.port,
                weight=one.weight,
                max_sessions=one.max_sessions,
                slice=one.slice,
                sorry=one.sorry,
                server=one.server,
            )
            for one in table.real_server
        ),
    )
