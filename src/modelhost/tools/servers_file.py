"""Reads and watches `mcp.json`, and finds its secrets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from modelhost.config.document import parse, read_content
from modelhost.config.paths import broken_link, expand_home
from modelhost.config.variables import DOTENV, available, expand, parse_dotenv, read_dotenv, referenced
from modelhost.config.watching import watch_contents
from modelhost.errors import ConfigError
from modelhost.redaction import NO_SECRETS, is_secret_name
from modelhost.tools import servers_format
from modelhost.tools.entry import (
    CONNECT_TIMEOUT_SECONDS,
    MAX_CONCURRENT_CALLS,
    SAMPLING_MAX_TOKENS,
    TIMEOUT_SECONDS,
    HttpTransport,
    SamplingPolicy,
    ServerEntry,
    StdioTransport,
)

EXAMPLE: Final = '{"mcpServers": {"time": {"command": "mcp-server-time"}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServers:
    """The contents of a file, including servers that cannot be used, with the reason."""

    servers: tuple[ServerEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    digest: str = ""
    """Identifies the content of the file and of the ``.env`` beside it."""
    is_injected: bool = True
    """Whether tools are added to requests that bring none (``auto_register_tools``)."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """To be masked in logs."""


def read_servers(path: Path, environ: Mapping[str, str]) -> ToolServers:
    """Read the file at ``path``; ``${VAR}`` comes from ``environ``, then from ``.env`` beside the file.

    Raises:
        ConfigError: it cannot be read, or has no known format. An invalid server is no such error.
    """
    try:
        content = read_content(path)
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse_servers(content, path, environ)


def parse_servers(content: bytes, path: Path, environ: Mapping[str, str]) -> ToolServers:
    """As :func:`read_servers`, for content that was read already."""
    try:
        dotenv, problem = read_dotenv(path.parent / DOTENV)
        document = parse(content, path, example=EXAMPLE)
        raw = servers_format.raw_file(document)
        is_injected = _flag(raw.defaults, "auto_register_tools")
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    warnings = [f"{path.name}: {warning}" for warning in raw.warnings] + ([problem] if problem else [])
    variables = available(environ, dotenv)
    entries = []
    for server in raw.servers:
        entry, found = _entry(server, path, variables, raw.defaults)
        entries.append(entry)
        warnings.extend(found)
    return ToolServers(
        servers=tuple(entries),
        warnings=tuple(warnings),
        digest=digest_of(content, path),
        is_injected=is_injected,
        secrets=secrets_in(document, variables, entries),
    )


def digest_of(content: bytes, path: Path) -> str:
    """Return what identifies the content of the file and of its ``.env``."""
    digest = hashlib.sha256(content)
    try:
        digest.update(b"\0" + (path.parent / DOTENV).read_bytes())
    except OSError:
        digest.update(b"\0")  # there is none, or it cannot be read, which reading reports
    return digest.hexdigest()


def _flag(defaults: Mapping[str, Any], key: str) -> bool:
    value = defaults.get(key, True)
    if not isinstance(value, bool):
        raise ValueError(f'"{key}": expected true or false')  # noqa: TRY004  (a ValueError by contract)
    return value


def _entry(
    server: servers_format.RawServer, path: Path, variables: Mapping[str, str], defaults: Mapping[str, Any]
) -> tuple[ServerEntry, list[str]]:
    label = f"{path.name}: {server.place}"
    warnings: list[str] = []
    try:
        if not isinstance(server.fields, dict):
            raise ValueError("expected keys and values")  # noqa: TRY004, TRY301
        fields, warnings = servers_format.canonical_fields(server.fields, label)
        file = servers_format.checked({**_defaults(defaults), **fields})
        entry, more = _read(server.name, file, path.parent, variables)
    except ValueError as error:
        reason = f"{label}: {error}"
        return ServerEntry(name=server.name, transport=None, is_enabled=False, why_disabled=reason), warnings
    return entry, [*warnings, *(f"{label}: {warning}" for warning in more)]


def _defaults(defaults: Mapping[str, Any]) -> dict[str, Any]:
    names = {"tool_timeout_secs": "timeout_seconds", "max_concurrent_calls": "max_concurrent_calls"}
    return {name: defaults[key] for key, name in names.items() if key in defaults}


def _read(
    name: str, file: servers_format.EntryFile, directory: Path, variables: Mapping[str, str]
) -> tuple[ServerEntry, list[str]]:
    timeout, warnings = _timeout(file)
    return ServerEntry(
        name=name,
        transport=_transport(file, directory, variables),
        is_enabled=file.is_wanted,
        prefix=file.prefix,
        allowed_tools=frozenset(file.allowed_tools) if file.allowed_tools is not None else None,
        denied_tools=frozenset(file.denied_tools),
        timeout_seconds=timeout,
        connect_timeout_seconds=file.connect_timeout_seconds or CONNECT_TIMEOUT_SECONDS,
        max_concurrent_calls=file.max_concurrent_calls or MAX_CONCURRENT_CALLS,
        approval=file.approval or "auto",
        tool_approvals={**dict.fromkeys(file.auto_tools, "auto"), **file.tool_approval},
        sampling=_sampling(file),
        roots=tuple(_root(expand(root, variables), directory) for root in file.roots),
        instructions=file.instructions,
        protocol=file.protocol,
    ), warnings


def _timeout(file: servers_format.EntryFile) -> tuple[float, list[str]]:
    if file.timeout_seconds is not None or file.timeout is None:
        return file.timeout_seconds or TIMEOUT_SECONDS, []
    if file.timeout < servers_format.MILLISECONDS_FROM:
        return file.timeout, []
    seconds = file.timeout / 1000
    return seconds, [f'"timeout": {file.timeout:g} is read as milliseconds; write "timeout_seconds" to be sure']


def _sampling(file: servers_format.EntryFile) -> SamplingPolicy:
    if isinstance(file.sampling, str):
        return SamplingPolicy(mode=file.sampling)
    return SamplingPolicy(mode=file.sampling.mode, max_tokens=file.sampling.max_tokens or SAMPLING_MAX_TOKENS)


def _root(text: str, directory: Path) -> str:
    return text if "://" in text else (directory / expand_home(text)).resolve().as_uri()


def _transport(
    file: servers_format.EntryFile, directory: Path, variables: Mapping[str, str]
) -> StdioTransport | HttpTransport:
    kind = servers_format.transport_kind(file)
    if kind == "stdio":
        return _process(file, directory, variables)
    url = expand(file.url, variables)
    if not url.startswith(("http://", "https://")):
        raise ValueError('"url": expected an address that begins with http:// or https://')
    return HttpTransport(kind=kind, url=url, headers=_headers(file, variables))


def _process(file: servers_format.EntryFile, directory: Path, variables: Mapping[str, str]) -> StdioTransport:
    env = {name: _text(value) for name, value in file.env.items()}
    if file.env_file is not None:
        given = directory / expand_home(expand(file.env_file, variables))
        try:
            env = {**parse_dotenv(given.read_bytes()), **env}
        except OSError as error:
            raise ValueError(f'"env_file": cannot read {given}: {broken_link(given) or error.strerror}') from error
    cwd = directory / expand_home(expand(file.cwd, variables)) if file.cwd is not None else None
    return StdioTransport(
        command=_command(expand(file.command, variables), directory),
        args=tuple(expand([_text(value) for value in file.args], variables)),
        env=expand(env, variables),
        cwd=cwd,
    )


def _command(text: str, directory: Path) -> str:
    """Return the command: a path is relative to the file, a bare name is looked up in ``PATH``."""
    return str(directory / expand_home(text)) if "/" in text else text


def _headers(file: servers_format.EntryFile, variables: Mapping[str, str]) -> dict[str, str]:
    headers = {name: _text(value) for name, value in file.headers.items()}
    token = file.bearer_token or file.auth
    if token is not None and "authorization" not in {name.lower() for name in headers}:
        # It may include a scheme.
        headers["Authorization"] = token if " " in token else f"Bearer {token}"
    found: dict[str, str] = expand(headers, variables)
    return found


def _text(value: servers_format.Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def secrets_in(document: Any, variables: Mapping[str, str], entries: Iterable[ServerEntry]) -> frozenset[str]:
    """Return the secrets of a file that was read as ``document`` with ``entries``."""
    of_variables = {variables[name] for name in referenced(document) if name in variables and name not in NO_SECRETS}
    return frozenset(of_variables.union(*(_of_transport(entry.transport) for entry in entries)))


def _of_transport(transport: StdioTransport | HttpTransport | None) -> Iterator[str]:
    named = (
        transport.env if isinstance(transport, StdioTransport) else transport.headers if transport is not None else {}
    )
    for name, value in named.items():
        if is_secret_name(name):
            yield value
            yield value.rpartition(" ")[2]  # without a scheme such as "Bearer"


async def watch_servers(
    path: Path, environ: Mapping[str, str], *, seen: str | None, again: asyncio.Event | None = None
) -> AsyncGenerator[ToolServers | ConfigError, None]:
    """Yield the servers, or why the file cannot be used, each time its content has changed.

    ``seen`` is the digest of the content in force (:attr:`ToolServers.digest`); setting ``again`` makes the file be
    read at once. The file may be replaced by rename or be missing for a time. Endless; close it with ``aclosing``.
    """
    async with aclosing(watch_contents(path, again=again)) as contents:
        async for content in contents:
            digest = "" if content is None else await asyncio.to_thread(digest_of, content, path)
            if digest != seen:
                seen = digest
                yield await asyncio.to_thread(_read_again, content, path, environ)


def _read_again(content: bytes | None, path: Path, environ: Mapping[str, str]) -> ToolServers | ConfigError:
    try:
        return read_servers(path, environ) if content is None else parse_servers(content, path, environ)
    except ConfigError as error:
        return error
