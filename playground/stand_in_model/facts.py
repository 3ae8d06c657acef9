"""Which sentences state a fact about their speaker, and what the fact is about; in four languages, by patterns.

A fact has a *subject* ("home", "my favourite colour"): of two facts on one subject the newer replaces the older. That
is how the stand-in tells an UPDATE from an ADD. Questions, greetings and opinions state nothing. The patterns cover
plain sentences as people write them in a demo or a test; a model understands language, this does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement, in the speaker's words, and the subject it is about."""

    text: str
    subject: str


# What a subject is made of: a pattern, and a template filled from the pattern's groups. The first that matches counts.
# "User", "he", "she" and the bare third person are there because stored memories may be worded so.
_SPEAKER: Final = (
    r"(?:(?:i|user|the user|he|she)(?:'m|'ve)?\s+)?(?:am |have |has |is )?(?:now |currently |just |also )*"
)
_PATTERNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), subject)
    for pattern, subject in (
        # English
        (r"(?:my|his|her|(?:the )?user's) (?P<what>[\w' -]+?) (?:is|are|was|were) .+", "my {what}"),
        (r"(?:i am called|i'm called|call me) .+", "my name"),
        (_SPEAKER + r"(?:lives?|living|moved|moving|relocated) (?:in|to|near|at|with) .+", "home"),
        (_SPEAKER + r"(?:works?|working) (?P<what>at|for|as|in|with|from) .+", "work {what}"),
        (r"(?:i am|i'm|is|user is|the user is) \d+(?: years old)?", "age"),
        (
            r"(?:(?:i|user|the user|he|she) )?(?:really |also |still |do not |don't |does not |doesn't )*"
            r"(?:like|love|enjoy|prefer|hate|dislike)s? (?P<what>.+)",
            "taste {what}",
        ),
        # Chinese
        (r"我(?:现在)?(?:住在|搬到了?|搬去了?).+", "home"),
        (r"我(?:的名字)?(?:叫|是叫).+|我的名字是.+", "my name"),
        (r"我(?:现在)?在.+(?:工作|上班)", "work at"),
        (r"我(?:今年)?\d+岁", "age"),
        (r"我(?:很|也|最|不|非常)*(?:喜欢|爱|讨厌)(?P<what>.+)", "taste {what}"),
        (r"我的(?P<what>[^是]{1,12})是.+", "my {what}"),
        # Japanese
        (r"(?:(?:私|僕|わたし)は)?(?:今は?)?.+に(?:住んで|引っ越し).+", "home"),
        (r"(?:(?:私|僕|わたし)の)?名前は.+|.+と申します", "my name"),
        (r"(?:(?:私|僕|わたし)は)?.+で働いて.+", "work at"),
        (r"(?:(?:私|僕|わたし)は)?\d+歳.*", "age"),
        (r"(?:(?:私|僕|わたし)は)?(?P<what>.+?)[がは](?:とても|あまり)?(?:大?好き|大?嫌い|苦手).*", "taste {what}"),
        (r"(?:私|僕|わたし)の(?P<what>.+?)は.+", "my {what}"),
        # Portuguese
        (r"(?:eu )?(?:agora )?(?:moro|vivo|me mudei|mudei-me|mudei) (?:em|no|na|para|pra) .+", "home"),
        (r"(?:eu )?(?:me chamo|chamo-me) .+|(?:o )?meu nome é .+", "my name"),
        (r"(?:o |a |os |as )?(?:meu|minha|meus|minhas) (?P<what>.+?) (?:é|são|se chama) .+", "my {what}"),
        (r"(?:eu )?(?:agora )?trabalho (?P<what>em|na|no|como|com|para) .+", "work {what}"),
        (r"(?:eu )?tenho \d+ anos", "age"),
        (r"(?:eu )?(?:não )?(?:gosto de|adoro|amo|odeio|detesto|prefiro) (?P<what>.+)", "taste {what}"),
    )
)

# A sentence without one of the subjects above is a fact of its own when it speaks in the first person ...
_FIRST_PERSON: Final = re.compile(
    r"(?:(?:yesterday|today|tonight|this \w+|last \w+|every \w+|on \w+day|in \d{4}|first|to [\w ]+),? )?"
    r"(?:i|i'm|i've|my|we|our)\b.+|"
    r"(?:昨天|今天|上周|首先|先)?，?我.+|"
    r"(?:(?:昨日|今日|先週|まず)、?)?(?:(?:私|僕|わたし)[はのにも]).+|"
    r"(?:(?:ontem|hoje|primeiro),? )?(?:eu|meu|minha|sou|tenho|falo|estudo|estou|fui|comprei)\b.+",
    re.IGNORECASE,
)
# ... and does not only think aloud, wish, ask or greet.
_NO_FACT: Final = re.compile(
    r"(?:i|i'm|we)(?: am|'m)? (?:think|thought|guess|wonder|wondering|see|hope|mean|know|understand|agree|believe|"
    r"suppose|would|will|can|can't|cannot|could|should|may|want to know|want to ask|need help|need you|need to|"
    r"have a question|have no idea|do not know|don't know|fine|good|ok|okay|well|great|sorry|happy to|glad|sure|"
    r"not sure|afraid|here|back|looking forward|doing)\b.*|i'd .*|i'll .*|"
    r"我(?:想|觉得|知道|明白|能|可以|要|希望|猜|很好|没事).*|(?:私|僕)は(?:元気|大丈夫|思).*|"
    r"(?:eu )?(?:acho|quero saber|gostaria|sei|espero|entendo|estou bem|posso)\b.*",
    re.IGNORECASE,
)
_QUESTION: Final = re.compile(
    r".*(?:[?？]|[吗呢]|(?:です|ます|でしょう)か)[。.!！]?$|"
    r"(?:what|where|when|who|which|how|why|do you|can you|could you|are you|is it|tell me)\b.*|"
    r"(?:qual|quais|onde|quando|quem|como|por que|você)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_RETRACTION: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:please )?(?:forget|delete|remove|do not remember|don't remember)"
        r"(?: about| that| the fact| what i said about)* (?P<what>.+)",
        r"(?:i|we) (?:no longer|do not|don't|am not|'m not|stopped) (?P<what>.+?) any ?more",
        r"(?:i|we) (?:am )?no longer (?P<what>.+)",
        r"(?:请)?(?:忘记|忘掉|忘了|删除)(?P<what>.+)",
        r"我(?:不再|已经不)(?P<what>.+?)了?",
        r"(?P<what>.+?)(?:という)?(?:こと)?[をは]忘れて.*",
        r"(?:(?:私|僕|わたし)は)?もう(?P<what>.+?)(?:ません|ないです|ない|いません)",
        r"(?:por favor,? )?(?:esqueça|esquece|apague)(?: que| de que)? (?P<what>.+)",
        r"(?:eu )?(?:já )?não (?P<what>.+) mais",
        r"(?:eu )?(?:deixei de|parei de) (?P<what>.+)",
    )
)

_SENTENCE_END: Final = re.compile(r"(?<=[.!?;])\s+|(?<=[。！？；])|\n+")
_CLAUSE_END: Final = re.compile(
    r",?\s+(?:and|but)\s+(?=(?:i|i'm|my)\b)|，(?=我)|,?\s+(?:e|mas)\s+(?=(?:eu|meu|minha|moro|gosto|trabalho|tenho|sou)\b)",
    re.IGNORECASE,
)
_LEAD_IN: Final = re.compile(
    r"(?:(?:hi|hello|hey|well|so|ok|okay|actually|also|and|but|oh|yes|no|by the way|btw|fyi|please|"
    r"remember(?: that)?|note(?: that)?|oi|olá|aliás|sim)(?: there| again)?[,!:.]?\s+|"
    r"(?:你好|您好|对了|其实|另外|こんにちは|実は|ちなみに)[，,、！!。]?\s*)",
    re.IGNORECASE,
)
_FINAL: Final = " \t\r\n.!。！,，;；"


def clauses(text: str) -> Iterator[str]:
    """The statements of ``text`` one by one, without lead-ins and final punctuation; questions are left out."""
    for sentence in _SENTENCE_END.split(text):
        for clause in _CLAUSE_END.split(sentence.strip()):
            bare = _without_lead_in(clause.strip())
            if bare.strip(_FINAL) and not _QUESTION.fullmatch(bare):
                yield bare.strip(_FINAL)


def fact_in(clause: str) -> Fact | None:
    """The fact a clause states about its speaker, or None."""
    plain = clause.replace("’", "'")
    if _NO_FACT.fullmatch(plain):
        return None
    subject = subject_of(plain)
    if subject is None and not _FIRST_PERSON.fullmatch(plain):
        return None
    return Fact(clause[0].upper() + clause[1:], subject or normalised(plain))


def retracted_in(clause: str) -> str | None:
    """What a clause asks to be forgotten or says to be over, or None."""
    plain = clause.replace("’", "'")
    for pattern in _RETRACTION:
        if match := pattern.fullmatch(plain):
            return match["what"].strip(_FINAL)
    return None


def subject_of(text: str) -> str | None:
    """The subject a statement is about, where it is one of those known here."""
    plain = text.strip(_FINAL).replace("’", "'")
    for pattern, template in _PATTERNS:
        if match := pattern.fullmatch(plain):
            return template.format(**{name: normalised(value or "") for name, value in match.groupdict().items()})
    return None


def normalised(text: str) -> str:
    """``text`` without the differences that make no other statement: case, blanks, final punctuation."""
    return " ".join(text.casefold().split()).strip(_FINAL)


def _without_lead_in(clause: str) -> str:
    while match := _LEAD_IN.match(clause):
        clause = clause[match.end() :]
    return clause
