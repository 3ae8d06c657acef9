"""The address a block's config leads to, and whether anything listens there.

The SDKs of models and vector stores say "connection error" whatever is wrong with a connection; this finds the cause
where the config itself says host and port. Vendors' own addresses, which no config names, are taken to be right.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from utils.aio.reachability import unreachable
from utils.errors import CredentialError

_CONNECT_TIMEOUT_S: Final = 2.0
_URL_KEYS: Final = ("url", "uri", "endpoint", "azure_endpoint")
_URL_ENDINGS: Final = ("_url", "_uri")
_NESTED_KEYS: Final = ("llm", "config", "azure_kwargs")
_PORTS: Final = {"http": 80, "https": 443, "bolt": 7687, "neo4j": 7687, "redis": 6379, "rediss": 6379, "valkey": 6379}


def explain_address(config: Mapping[str, Any], where: str) -> CredentialError | None:
    """What keeps a connection to the config's address from being made; None if nothing does, or it has none. Blocks.

    Args:
        config: of a block.
        where: the credential's name in the form.
    """
    address = service_address(config)
    if address is None or proxy_between(config):  # names and ports need not be reachable from here then
        return None
    return unreachable(*address, where, _CONNECT_TIMEOUT_S)


def proxy_between(config: Mapping[str, Any]) -> str | None:
    """Host and port of the proxy that the environment sets before the config's address; None without one.

    Args:
        config: of a block; one that names no address leads to its vendor, by https.
    """
    url = next(_urls(config), "https://vendor.invalid")
    scheme, host = urlsplit(url).scheme, urlsplit(url).netloc.rpartition("@")[2]
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or proxy_bypass(host):
        return None
    return urlsplit(proxy if "://" in proxy else f"http://{proxy}").netloc.rpartition("@")[2]  # without its password


def _urls(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, str) and (key in _URL_KEYS or key.endswith(_URL_ENDINGS)):
            yield value
        elif isinstance(value, Mapping) and key in _NESTED_KEYS:
            yield from _urls(value)


def service_address(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """Host and port of the service; None where the config has none."""
    for address in filter(None, map(_address_of_url, _urls(config))):
        return address
    host, port = config.get("host"), str(config.get("port", ""))
    if isinstance(host, str) and port.isdecimal():
        return host.rpartition("://")[2].rstrip("/"), int(port)  # Elasticsearch's host has a scheme
    return None


def _address_of_url(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _PORTS.get(parts.scheme.partition("+")[0].lower())
    except ValueError:  # a port that is no number
        return None
    return (parts.hostname, port) if parts.hostname and port else None


def embedded_folder(config: Mapping[str, Any]) -> str | None:
    """Where an engine that runs in this process keeps its files; None for a server."""
    path, url = config.get("path"), config.get("url")
    if isinstance(url, str) and url:  # Milvus Lite has the file there; for others it is a server, whatever the path
        return None if "://" in url else os.path.dirname(os.path.abspath(url))
    return path if isinstance(path, str) and path and not config.get("host") else None


def may_write(folder: str) -> bool:
    """Whether this user may make files in ``folder``, or the folder itself where it is missing."""
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)
