"""The Dify key of a task, kept so that only its own credentials can read it.

A process that dies leaves its task to another, which needs the key to go on; a secret stands in no record unencrypted.
So the key is encrypted (Fernet of the package ``cryptography``: AES and HMAC) under a key that is derived (HKDF, with a
salt of its own for each task) from what the credentials say. Those stand nowhere but in Dify and in the memory of a
process: whoever reads the state store cannot read the key, and a task goes on only where its credentials are used.
Credentials without any secret in them (a model and a database without a password) protect nothing; neither does
anything else then.
"""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

    from utils.config.settings import Settings

_SALT_BYTES: Final = 16
_PURPOSE: Final = b"mem0_dify: the Dify API key of a task"


def seal(secret: str, settings: Settings) -> str:
    """``secret`` encrypted for whoever has these credentials."""
    salt = os.urandom(_SALT_BYTES)
    sealed = _fernet(settings, salt).encrypt(secret.encode())
    return f"{base64.urlsafe_b64encode(salt).decode()}.{sealed.decode()}"


def unseal(sealed: str, settings: Settings) -> str | None:
    """What :func:`seal` encrypted; None when it was done with other credentials, or was changed since."""
    from cryptography.fernet import InvalidToken

    salt, _, token = sealed.partition(".")
    try:
        return _fernet(settings, base64.urlsafe_b64decode(salt)).decrypt(token.encode()).decode()
    except (InvalidToken, ValueError):
        return None


def _fernet(settings: Settings, salt: bytes) -> Fernet:
    # Imported here: few calls need it, and it takes 6 MB.
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    blocks = (settings.llm, settings.embedder, settings.vector_store, settings.graph, settings.reranker)
    said = [[block and block.model_dump() for block in blocks], settings.state_db_url]
    material = json.dumps(said, sort_keys=True).encode()
    derived = HKDF(SHA256(), 32, salt, _PURPOSE).derive(material)
    return Fernet(base64.urlsafe_b64encode(derived))
