"""Texts that no memory is made of, whatever the model says: told from what was said, without a model.

Small models store the prompt's example as the user's, copy the assistant's sentences, and keep passwords. A wrong
memory is worse than none, so a change with such a text is dropped and counted by its reason. Only what can be told
reliably is refused here; the prompt asks for the rest. Pure, and linear in the length of what was said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from utils.text import normalized

if TYPE_CHECKING:
    from utils.memory.answers import ProposedChange
    from utils.memory.prompts import Offered, Turn

Reason = Literal["placeholder", "secret", "role_label", "assistant_words"]

# What a model writes in place of a fact: our placeholders, and its own of the same form.
_PLACEHOLDER: Final = re.compile(r"<[^<>\n]{1,80}>")
_OURS: Final = frozenset({
    "newfact", "wholenewmemory", "whathappened", "whatisdonethisway", "firststep", "secondstep",
    "whoorwhat", "isordoeswhat", "whomorwhat",
})  # fmt: skip
# As our prompt labels turns, and as the four languages' answers do.
_ROLE_LABEL: Final = re.compile(
    r"(?:\[[^\]\n]{0,60}\]\s?)?[\"'`*]{0,3}"
    r"(?:user|assistant|ai|ai assistant|usu[áa]ri[oa]|assistente|ia|用户|用戶|助手|助理|ai助手|ユーザー?|アシスタント)"
    r"[\"'`*]{0,3}\s?[:：]",
    re.IGNORECASE,
)
# How a user takes up what the assistant has just said. The word stands alone: "Right now I live in Rome" is no yes.
_YES: Final = (
    r"(?:yes|yeah|yep|right|correct|exactly|indeed|true|that(?:['’]s| is) (?:right|correct|true)|"
    r"sim|isso(?: mesmo)?|exato|certo|correto|[对對][的啊呀]?|是的|[没沒][错錯]|正确|正確|"
    r"はい|ええ|うん|そうです[ねよ]?|(?:その通り|正解)(?:です)?)"
)
_CONFIRMATION: Final = re.compile(
    rf"\W*{_YES}(?:[ \t]{{0,3}}{_YES}){{0,3}}[ \t]{{0,3}}(?:[^\w \t'’-]|['’-](?!\w)|\Z)", re.IGNORECASE
)

# Secrets that have a form of their own. Each quantifier is bounded, so that a hostile text takes linear time.
_KEY: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{16,}|(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|"  # OpenAI, Anthropic; Stripe
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|"
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|"
    r"hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|"
    r"(?:app|dataset)-[A-Za-z0-9]{24}(?![A-Za-z0-9])|"  # Dify
    r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})"  # JSON Web Token
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"|\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,100}:[^\s/@]{1,100}@"  # a password in a URL
)
# A password has no form of its own; told by its name right before it and a digit in it, or it would be a common word.
# What it is for may stand between ("the password for the router is"); "the password policy is 90days" names none.
_UNITS: Final = (
    r"(?:st|nd|rd|th|x|s|sec(?:ond)?s?|min(?:ute)?s?|h|hours?|days?|weeks?|months?|years?|"
    r"char(?:acter)?s?|digits?|letters?|words?|times?|dias?|horas?|m[eê]s(?:es)?|anos?|d[íi]gitos?)"
)
_NAMED: Final = re.compile(
    r"(?:\b(?:password|passphrase|passcode|passwd|pwd|pin(?: code)?|cvv|cvc|senha|c[óo]digo de seguran[çc]a|"
    r"api[ _-]?key|secret key|access token|chave (?:de )?api)\b"
    r"|密码|密碼|口令|密钥|密鑰|パスワード|暗証番号|パスコード)"
    r"(?:[\"'`*」”]{1,3}|\s(?:number|code))?"
    r"(?:\s?\([^()\n]{1,40}\)|\s(?:for|to|of|on|at|in|para|d[aeo])(?:\s[\w'’-]{1,30}){1,5}?)?"
    r"\s{0,3}(?:(?:\b(?:is|é)\s{0,3})?[:：=]|\b(?:is|é)\b|就?是|[设設改]?[为為]|は)\*{0,2}\s{0,3}[\"'`「“]{0,2}"
    rf"(?!\d{{1,4}}[ -]?{_UNITS}(?!\w))(?P<value>[\x21-\x7e]{{3,128}})",
    re.IGNORECASE,
)
_CARD: Final = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?![ -]?\d)")
# Major card networks by their first digits and lengths (ISO/IEC 7812); other long numbers are no cards.
_NETWORKS: Final = re.compile(
    r"4\d{12}|4\d{15}|4\d{18}|(?:5[1-5]|2[2-7])\d{14}|3[47]\d{13}|3[068]\d{12}|35\d{14}|6[0245]\d{14}|62\d{15,17}"
)


def checked(
    changes: Sequence[ProposedChange], turns: Sequence[Turn], offered: Iterable[Offered]
) -> tuple[list[ProposedChange], Mapping[str, int]]:
    """The changes whose texts may be stored, with those of their relations that may be, and how many changes were
    refused, by reason.

    Args:
        changes: what the model asks for.
        turns: what was said, oldest first.
        offered: the memories the model was shown: what these hold it may write again.
    """
    said = _Said(turns, offered)
    reasons = [said.refusal(change) for change in changes]
    kept = [said.with_own_relations(change) for change, reason in zip(changes, reasons, strict=True) if reason is None]
    return kept, Counter(reason for reason in reasons if reason is not None)


class _Said:
    """What was said, in the form texts are compared with."""

    def __init__(self, turns: Sequence[Turn], offered: Iterable[Offered]) -> None:
        known = [memory.text for memory in offered]
        self._plain = "\n".join([*(turn.text for turn in turns), *known])
        users = "\n".join([*(turn.text for turn in turns if turn.role == "user"), *known])
        self._users = _letters(users)
        self._assistants = [
            _letters(turn.text)
            for turn, answer in zip(turns, [*turns[1:], None], strict=False)
            if turn.role == "assistant" and not (answer is not None and _confirms(answer))
        ]

    def refusal(self, change: ProposedChange) -> Reason | None:
        """Why no memory is made of what ``change`` would store; None when one may be."""
        if change.event == "DELETE":
            return None
        texts = (change.text, *change.steps)
        if any(self._is_placeholder(text) for text in texts):
            return "placeholder"
        if any(has_secret(text) for text in texts):
            return "secret"
        if _ROLE_LABEL.match(change.text):
            return "role_label"
        return "assistant_words" if self._is_the_assistants(change.text) else None

    def with_own_relations(self, change: ProposedChange) -> ProposedChange:
        """``change`` without the relations that hold a placeholder or a secret; of them nothing else is at stake."""
        own = tuple(
            relation
            for relation in change.relations
            if not any(self._is_placeholder(part) or has_secret(part) for part in relation)
        )
        return replace(change, relations=own)

    def _is_placeholder(self, text: str) -> bool:
        """Whether ``text`` holds something in angle brackets that nobody said, or is one of ours without them."""
        if _letters(text) in _OURS and text not in self._plain:
            return True
        return any(match[0] not in self._plain for match in _PLACEHOLDER.finditer(text))

    def _is_the_assistants(self, text: str) -> bool:
        """Whether ``text`` is a piece of what the assistant said, and not of what the user did or took up."""
        letters = _letters(text)
        return bool(letters) and letters not in self._users and any(letters in said for said in self._assistants)


def has_secret(text: str) -> bool:
    """Whether ``text`` holds a key, a password or a card number in a form that can be told for sure."""
    named = any(any(map(str.isdigit, match["value"])) for match in _NAMED.finditer(text))
    return named or _KEY.search(text) is not None or any(_is_card(match[0]) for match in _CARD.finditer(text))


def _is_card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return _NETWORKS.fullmatch(digits) is not None and _luhn(digits)


def _luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(digits[::-1], 1)]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _confirms(turn: Turn) -> bool:
    return turn.role == "user" and _CONFIRMATION.match(turn.text) is not None


def _letters(text: str) -> str:
    """Letters and digits alone: a copy stays one whatever became of its blanks, case and punctuation."""
    return "".join(filter(str.isalnum, normalized(text)))
