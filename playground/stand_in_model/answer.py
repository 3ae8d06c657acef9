"""From a prompt to the answer it asks for, ``{"memory": [{"event", ...}]}``, by rules that give the same every time.

One ADD per new fact of the user's; an UPDATE where a stored memory is about the same subject; a DELETE where the user
retracts one; nothing for what is stored already, for questions and for small talk. What the assistant says is ignored.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any, Final

from playground.stand_in_model.embeddings import cosine, embed
from playground.stand_in_model.facts import Fact, clauses, fact_in, normalised, retracted_in, subject_of
from playground.stand_in_model.prompt import Memory, Message, Prompt

_RETRACTED_AT_LEAST: Final = 0.35  # similarity from which a stored memory counts as the one that is retracted

_PROCEDURE: Final = re.compile(
    r"\bfirst\b.+\bthen\b|先.+(?:然后|再)|まず.+(?:次に|それから)|\bprimeiro\b.+\bdepois\b", re.I
)
_STEP: Final = re.compile(
    r"[,，、;；]?\s*(?:\b(?:and )?(?:first|then|finally)\b|(?:首先|先|然后|最后)|(?:まず|次に|それから|最後に)|"
    r"\b(?:primeiro|depois|por fim)\b)[,，、:]?\s*",
    re.I,
)
_OCCASION: Final = re.compile(
    r"\b(?:yesterday|today|tonight|this morning|last (?:night|week|month|year)|ago|went|visited|bought|met|attended|"
    r"started|finished|happened|ontem|hoje|semana passada|fui|comprei|visitei)\b|"
    r"昨天|今天|上周|去了|买了|昨日|今日|先週|行きました|買いました",
    re.I,
)
_DAYS_BACK: Final = tuple(
    (re.compile(pattern, re.I), days)
    for pattern, days in (
        (r"\byesterday\b|\blast night\b|\bontem\b|昨天|昨日", 1),
        (r"\blast week\b|\bsemana passada\b|上周|先週", 7),
    )
)
_RELATION: Final = {"home": "lives_in", "my name": "is_called", "age": "is_aged"}


def answer(prompt: Prompt) -> dict[str, Any]:
    """What the stand-in makes of ``prompt``, in the shape the prompt asks for."""
    reconciliation = _Reconciliation(prompt)
    for message in prompt.messages:
        for clause in clauses(message.text):
            reconciliation.take(clause, message)
    return reconciliation.answer()


def verbatim_answer(prompt: Prompt) -> dict[str, Any]:
    """One ADD per message of the user's, word for word, whatever it says: what tests that count memories need."""
    kind = {"type": "semantic"} if prompt.conversation else {}
    return {"memory": [{"event": "ADD", "text": message.text, **kind} for message in prompt.messages]}


class _Reconciliation:
    """What is to be done so far; of two clauses on one subject the later wins."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._changes: dict[str, dict[str, Any]] = {}  # by memory id, or by subject for what is new
        self._facts: dict[str, Fact] = {}

    def take(self, clause: str, message: Message) -> None:
        retracted = retracted_in(clause)
        if retracted is not None:
            self._retract(retracted)
        elif fact := fact_in(clause):
            self._state(fact, message)

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = {"memory": list(self._changes.values())}
        if self._prompt.relations:
            answer["relations"] = [
                {"source": "user", **_relation(self._facts[key]), "memory": index}
                for index, key in enumerate(self._changes)
                if key in self._facts
            ]
        return answer

    def _state(self, fact: Fact, message: Message) -> None:
        known = self._about(fact.subject)
        key = fact.subject if known is None else f"id {known.id}"
        self._changes.pop(key, None)
        if known is None:
            self._changes[key] = {"event": "ADD", "text": fact.text, **self._kind(fact.text, message)}
        elif normalised(known.text) != normalised(fact.text):
            self._changes[key] = {"event": "UPDATE", "id": known.id, "text": fact.text}
        self._facts[key] = fact

    def _retract(self, retracted: str) -> None:
        subject = subject_of(retracted) or subject_of(f"i {retracted}")
        target = (self._about(subject) if subject else None) or self._nearest(retracted)
        if target is not None:
            self._facts.pop(f"id {target.id}", None)
            self._changes[f"id {target.id}"] = {"event": "DELETE", "id": target.id}

    def _about(self, subject: str) -> Memory | None:
        for memory in self._prompt.memories:
            if (subject_of(memory.text) or normalised(memory.text)) == subject:
                return memory
        return None

    def _nearest(self, text: str) -> Memory | None:
        wanted = embed(text)
        scored = [(cosine(wanted, embed(memory.text)), memory) for memory in self._prompt.memories]
        score, nearest = max(scored, key=lambda pair: pair[0], default=(0.0, None))
        return nearest if score >= _RETRACTED_AT_LEAST else None

    def _kind(self, text: str, message: Message) -> dict[str, Any]:
        """The type of a conversation's memory, with its date or its steps."""
        if not self._prompt.conversation:
            return {}
        if _PROCEDURE.search(text):
            return {"type": "procedural", "steps": [step for step in _STEP.split(text) if step.strip()]}
        if _OCCASION.search(text):
            return {"type": "episodic", "date": _day_of(text, message.day).isoformat()}
        return {"type": "semantic"}


def _day_of(text: str, written: date) -> date:
    for pattern, days in _DAYS_BACK:
        if pattern.search(text):
            return written - timedelta(days=days)
    return written


def _relation(fact: Fact) -> dict[str, str]:
    """``lives_in`` and the like from the subject, the last word or two as what it points at."""
    relation = _RELATION.get(fact.subject) or re.sub(r"\W+", "_", fact.subject.split(" ")[0]) or "states"
    return {"relation": relation, "destination": " ".join(fact.text.split()[-2:])}
