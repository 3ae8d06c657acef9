"""Whether anything listens at a host and port, and if not, what stands in the way.

The clients of models and databases say "connection error" for a misspelt host, a wrong port and a firewall alike. One
plain connection tells them apart, by the class of the exception.
"""

from __future__ import annotations

import socket
from typing import Final

from utils.errors import CredentialError

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
_LONGEST_NAME: Final = 60


def unreachable(host: str, port: int, where: str, timeout_s: float) -> CredentialError | None:
    """What keeps a TCP connection from being made, as a sentence; None when one can be made. Blocks.

    Args:
        host: a name or an address.
        port: the port.
        where: the name in the form of the credential that has them.
        timeout_s: seconds to wait for each of the host's addresses. Resolving the name has no limit of its own.
    """
    try:
        socket.create_connection((host, port), timeout_s).close()
    except (socket.gaierror, UnicodeError):  # UnicodeError: a name no resolver is asked for, such as "a..b"
        key = "check_unknown_host"
    except ConnectionRefusedError:
        key = "check_connection_refused_locally" if host.lower() in _LOCAL_HOSTS else "check_connection_refused"
    except (OSError, OverflowError):  # OverflowError: a port above 65,535
        key = "check_no_answer"
    else:
        return None
    return CredentialError(key, where=where, host=shortened(host), address=written(host, port))


def written(host: str, port: int) -> str:
    """Host and port as a sentence shows them: an IPv6 address in brackets."""
    name = shortened(host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def shortened(name: str) -> str:
    """A name from a credential as long as a sentence can bear."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"
