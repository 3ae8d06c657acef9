"""The address a block's config leads to, and whether anything listens there.

The SDKs of models and vector stores say "connection error" whatever is wrong with a connection; this finds the cause
where the config itself says host and port. Vendors' own addresses, which no config names, are taken to be right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies

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
    if address is None or getproxies():  # through a proxy names and ports need not be reachable from here
        return None
    return unreachable(*address, where, _CONNECT_TIMEOUT_S)


def service_address(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """Host and port of the service; None where the config has none."""
    for key, value in config.items():
        if isinstance(value, str) and (key in _URL_KEYS or key.endswith(_URL_ENDINGS)):
            if address := _address_of_url(value):
                return address
        elif isinstance(value, Mapping) and key in _NESTED_KEYS and (address := service_address(value)):
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
