"""What the answer of a model's service says about the credential: the cause in it that a person can do something about.

Statuses and error codes tell it, and the exceptions below an SDK's; never a message, which differs by version and
repeats keys. What stands in no answer, such as a port where nobody listens, is found by ``service_address``.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from utils.aio.reachability import written
from utils.errors import CredentialError, ServiceError, ServiceRejected, causes
from utils.mem0.registry import FORM_NAMES, Kind
from utils.messages import Sentence
from utils.models.sdk_errors import codes_of, status_of
from utils.runtime.service_address import proxy_between, service_address

_PROXY_WANTS_LOGIN: Final = 407
_PAYMENT_REQUIRED: Final = 402
_MODELS: Final = ("llm", "embedder", "reranker")
_NO_QUOTA: Final = frozenset({
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error",  # OpenAI, Anthropic
    "exceeded_current_quota_error", "Arrearage",  # Moonshot, DashScope
})  # fmt: skip
_NO_DEPLOYMENT: Final = frozenset({"DeploymentNotFound"})  # Azure
_NO_MODEL: Final = frozenset({
    "model_not_found", "not_found_error", "NotFoundError", "NOT_FOUND",  # OpenAI; Anthropic, Ollama; vLLM; Gemini
})  # fmt: skip
_MAKES_EMBEDDINGS: Final = re.compile(r"embed|(^|/)(bge|e5|gte|multilingual-e5|all-minilm)\b", re.IGNORECASE)


def explain_answer(kind: Kind, config: Mapping[str, Any], where: str, exc: ServiceError) -> CredentialError | None:
    """The cause, as a sentence; None where the answer holds none.

    Args:
        kind: which part was asked.
        config: of its block.
        where: the credential's name in the form.
        exc: what the asking raised.
    """
    key = _cause_between(config, exc) or (_cause_at_model(kind, config, exc) if kind in _MODELS else None)
    if key is None or kind == "graph":
        return None
    address = service_address(config)
    return CredentialError(
        key,
        where=where,
        reason=exc.params["reason"],
        address=written(*address) if address else Sentence(f"part_{kind}", {}),
        proxy=proxy_between(config) or "",
        embedder=FORM_NAMES["embedder"],
    )


def _cause_between(config: Mapping[str, Any], exc: ServiceError) -> str | None:
    """The key of the sentence about what stands between: a proxy, a certificate."""
    status = _status(exc)
    if status in (None, _PROXY_WANTS_LOGIN) and exc.__cause__ is not None and proxy_between(config):
        return "check_proxy"
    for link in _links(exc):
        if isinstance(link, ssl.SSLCertVerificationError):
            return "check_certificate"
        if isinstance(link, ssl.SSLError):
            return "check_no_https"
    return None


def _cause_at_model(kind: Kind, config: Mapping[str, Any], exc: ServiceError) -> str | None:
    """The key of the sentence about the account or the model."""
    codes = codes_of(exc)
    if codes & _NO_QUOTA or _status(exc) == _PAYMENT_REQUIRED:
        return "check_no_quota"
    if codes & _NO_DEPLOYMENT:
        return "check_no_deployment"
    if kind == "llm" and isinstance(exc, ServiceRejected) and _MAKES_EMBEDDINGS.search(str(config.get("model"))):
        return "check_embedding_model"
    return "check_no_model" if codes & _NO_MODEL else None


def _status(exc: ServiceError) -> int | None:
    return next(filter(None, map(status_of, causes(exc))), None)


def _links(exc: BaseException) -> Iterator[object]:
    """The exceptions an error came from. urllib3 hands the one of the socket on as an argument of its own."""
    for link in causes(exc):
        yield link
        for inner in (*link.args, getattr(link, "reason", None)):
            if isinstance(inner, BaseException):
                yield inner
                yield from inner.args
