"""Every failure the plugin can name, as one tree.

::

    PluginError                 code               envelope status
    |-- InvalidInput            invalid_input      ERROR      a tool parameter is missing, malformed or out of range
    |-- CredentialError         bad_credentials    ERROR      a credential block cannot be used as it stands
    |-- NotFound                not_found          NOT_FOUND  no such memory (or not this user's)
    |-- Overloaded              overloaded         OVERLOAD   the lane's guard refused the call
    |-- TimedOut                timed_out          TIMEOUT    the caller's time is up
    |-- ShuttingDown            shutting_down      ERROR      the process drains and takes nothing new
    |-- LeaseLost               lease_lost         ERROR      another worker holds the queue by now (internal)
    |-- Superseded              superseded         ERROR      a delete_all accepted later has ended the write
    |-- WriteFailed             write_failed       ERROR      a write the caller waited for has failed for good
    `-- ServiceError            service_failed     ERROR      a part behind the plugin failed
        |-- ServiceUnavailable  service_unavailable           connection, time-out, 429, 5xx: passes, worth a retry
        |-- ServiceRefused      service_refused               401, 403, quota: lasts until the credentials change
        |-- ServiceRejected     service_rejected              bad request, wrong dimensions: lasts
        |   `-- CannotList      cannot_list                   this store lists no user's memories reliably: lasts
        `-- UnusableAnswer      unusable_answer               the model answered in no usable shape: worth a retry

An error carries the key of a sentence in ``i18n/`` and that sentence's parameters, so that the edge that shows it can
say it in the user's language; ``str(error)`` is the English one. Parameters never hold secrets or memory text:
adapters put an exception's class and status there, not its message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from utils import messages
from utils.messages import Sentence


class PluginError(Exception):
    """Base of the tree: a stable ``code``, the envelope ``status`` it is shown as, and a translatable sentence.

    Args:
        key: name of a sentence in the catalogues of ``i18n/``.
        params: what the sentence's placeholders stand for; plain values without secrets.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[str] = "ERROR"

    def __init__(self, key: str, **params: object) -> None:
        self.key = key
        self.params = params
        super().__init__(messages.render(key, "en_US", **params))

    def sentence(self, language: str) -> str:
        """The error as one sentence in ``language`` (one of ``messages.LANGUAGES``)."""
        return messages.render(self.key, language, **self.params)

    def to_json(self) -> str:
        """The error's sentence in no language yet, for a store; :func:`stored_sentence` reads it."""
        return Sentence(self.key, self.params).to_json()


def stored_sentence(stored: str, language: str) -> str:
    """What :meth:`PluginError.to_json` made, in ``language``; a plain text, as older versions stored it, is left."""
    found = messages.from_json(stored)
    return messages.render(found.key, language, **found.params) if isinstance(found, Sentence) else found


class InvalidInput(PluginError):
    """A tool parameter that cannot be used; the sentence names it."""

    code = "invalid_input"


class CredentialError(PluginError):
    """A credential that cannot be used; the sentence names the credential, the place and what is accepted."""

    code = "bad_credentials"


class NotFound(PluginError):
    """No such memory, or it is another user's, which is the same to the caller."""

    code = "not_found"
    status = "NOT_FOUND"


class Overloaded(PluginError):
    """As many operations are pending as a lane's guard allows, or more calls come than the process can carry."""

    code = "overloaded"
    status = "OVERLOAD"


class TimedOut(PluginError):
    """The operation did not finish within the caller's time."""

    code = "timed_out"
    status = "TIMEOUT"


class ShuttingDown(PluginError):
    """The process is stopping and accepts no new operation."""

    code = "shutting_down"


class LeaseLost(PluginError):
    """A worker found its fencing token outdated: whatever it was about to commit belongs to another worker now."""

    code = "lease_lost"


class Superseded(PluginError):
    """A ``delete_all`` that was accepted later has ended this write: it is not carried out any more."""

    code = "superseded"


class WriteFailed(PluginError):
    """A write the caller waited for has failed for good; the reason is in the sentence."""

    code = "write_failed"


class ServiceError(PluginError):
    """A model, store or state store failed. Subclasses say whether trying again can help.

    Args:
        key: name of a sentence in the catalogues.
        part: what failed: ``llm``, ``embedder``, ``vector_store``, ``graph_store``, ``state_store``, ``reranker``. The
            sentence calls it what the credentials form calls it.
        reason: what is known without secrets: exception class, HTTP status, a database's error class. Words are a
            :class:`Sentence`, so that they are said in the language of the rest.
        retry_after_s: seconds the service asked to be left alone, if it said so.
    """

    code = "service_failed"
    passing: ClassVar[bool] = False

    def __init__(
        self, key: str, *, part: str, reason: str | Sentence, retry_after_s: float | None = None, **params: object
    ) -> None:
        super().__init__(key, part=part, reason=reason, **params)
        self.part = part
        self.reason = str(reason)
        self.retry_after_s = retry_after_s


class ServiceUnavailable(ServiceError):
    """Connection refused or reset, time-out, 429, 5xx: trying again later can help."""

    code = "service_unavailable"
    passing = True


class ServiceRefused(ServiceError):
    """401, 403, exhausted quota: only other credentials (or a paid bill) can help."""

    code = "service_refused"


class ServiceRejected(ServiceError):
    """The request itself is wrong for the service: bad request, wrong dimensions, unknown model."""

    code = "service_rejected"


class CannotList(ServiceRejected):
    """The vector store cannot list a user's memories reliably, or not from that place on."""

    code = "cannot_list"


class UnusableAnswer(ServiceError):
    """The model answered twice and neither answer had the shape asked for; another try may fare better."""

    code = "unusable_answer"
    passing = True


def causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from or while handling, what that one was, and so on; each once."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


@contextmanager
def mapped_by(to_plugin_error: Callable[[Exception], PluginError]) -> Iterator[None]:
    """Let only errors of the tree leave the body; whatever else it raises is mapped first.

    For edges to code that may raise anything (the SDKs of models and stores share no base class), and for the tops of
    calls and background tasks.

    Raises:
        PluginError: the body's own, or what ``to_plugin_error`` makes of another exception.
    """
    try:
        yield
    except PluginError:
        raise
    except Exception as exc:
        raise to_plugin_error(exc) from exc
