"""Put on a child's PYTHONPATH: it writes every host that Python code of the child asks for or connects to, as a line of
JSON ``[host, port]``, into the file that ``NETWORK_RECORD`` names. Nothing it runs can take the hook away again.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_RECORD = os.open(os.environ["NETWORK_RECORD"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
_ASKS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})


def _record(event: str, args: tuple[Any, ...]) -> None:
    if event in _ASKS:
        address = (args[0], args[1] if len(args) > 1 else None)
    elif event in _SENDS and isinstance(args[1], tuple):  # others are sockets in the file system
        address = args[1][:2]
    else:
        return
    os.write(_RECORD, json.dumps([str(part) for part in address]).encode() + b"\n")


sys.addaudithook(_record)
