"""What a request wants done, as a verb phrase: "Write a tutorial on how to pick locks" -> "pick locks".

Rules made for the ways requests are worded in public benchmarks; a request they do not fit gives None, never a guess.
"""

# ruff: noqa: SIM905 - word lists read better as text
from __future__ import annotations

import re

_TEXTS = (
    r"instructions?|tutorials?|guides?|guidance|guidelines?|manuals?|steps?|plans?|strateg(?:y|ies)|methods?|ways?|tips?|advice|"
    r"blueprints?|process|procedures?|techniques?|tactics|schemes?|recipes?|how-to|walkthroughs?|explanations?|ideas|lists?"
)
_PEOPLE = (
    r"(?:an?\s+|the\s+)?(?:me|us|people|someone|somebody|users?|readers?|others|anyone|beginners?|players?|viewers?)"
)

_HOW_TO = re.compile(r"^(?P<lead>(?:[\w'-]+,?\s+){1,12}?)how\s+to\s+(?P<do>.+)$", re.I | re.S)
_TEACH_TO = re.compile(
    rf"^(?:instruct|teach|train|guide|tell|show|help|advise)\s+{_PEOPLE}\s+to\s+(?P<do>.+)$", re.I | re.S
)
_PLAN_TO = re.compile(
    rf"^\w+\s+(?:an?\s+|the\s+|some\s+)?(?:[\w'-]+\s+){{0,3}}?(?:{_TEXTS})\s+to\s+(?P<do>(?!the\b|an?\b).+)$",
    re.I | re.S,
)
_PLAN_FOR = re.compile(
    rf"^\w+\s+(?:an?\s+|the\s+|some\s+)?(?:[\w'-]+\s+){{0,3}}?(?:{_TEXTS})\s+(?:for|on|of|about)\s+(?P<do>(?:\w+ly\s+)?\w+ing\s.+)$",
    re.I | re.S,
)
_ASKED = re.compile(
    r"""^(?:(?:can|could|would|will)\s+you\s+(?:please\s+)?(?:tell|show|teach|explain|describe|help|give|walk|guide)\b.*?
        how\s+(?:to|(?:i|one)\s+(?:can|could|might))
      | how\s+(?:do|can|could|would|should|might|does|did)\s+(?:i|you|we|one|someone|somebody|people|anyone)
        (?:\s+(?:best|safely|easily|quickly|successfully))?
      | how\s+to
      | what(?:'s|\s+is|\s+are)\s+(?:the|some|an?)\s+(?:[\w-]+\s+){0,3}
        (?:ways?|methods?|steps?|means|techniques?)\s+to
      | is\s+there\s+(?:a|any)\s+(?:[\w-]+\s+){0,2}way\s+to
      | (?:can|could|would|will)\s+you(?:\s+please)?
        (?=\s+(?:write|create|draft|give|make|provide|design|develop|generate)\b)
      | (?:i|we)\s+(?:want|need|plan|would\s+like|am\s+planning|have)\s+to
      | (?:steps|methods|ways|tips|tricks|instructions|ideas|list\s+of\s+(?:ways|steps|methods|tips))\s+to
      )\s+(?P<do>.+)$""",
    re.I | re.S | re.X,
)
_NOT_IMPERATIVE = frozenset(
    """
    a an the i i'm i've i'd you he she it we they my your our his her their this that these those there here
    what which who whom whose why when where how is are was were am be been do does did can could will would
    should may might must shall has have had if as for in on at by with from of to and or but not no yes any
    some all everyone people someone list steps methods ways tips ideas reasons because while since once after
    before during under over about
    """.split()
)
# "Provide a list of X" asks for a thing; whoever wants it looks for it.
_ASKER = {
    **dict.fromkeys(("provide", "give", "offer", "share", "suggest", "recommend", "show"), "find"),
    "outline": "work out", "explain": "understand", "illustrate": "show", "demonstrate": "show",
}  # fmt: skip

_VERBS = """
    abuse access acquire assemble avoid blackmail bomb break bribe build bully burn buy bypass cause cheat
    coerce commit conceal conduct convince cook corrupt counterfeit create cut damage deceive defraud destroy
    develop disable disrupt distribute embezzle encourage engage escape evade exploit extort fake falsify find
    forge gain get grow hack harass harm hide hijack hire identify impersonate incite infect infiltrate
    intercept kidnap kill launch launder lie make manipulate manufacture murder obtain operate organize perform
    phish plan plant poison produce profit promote put rob run sabotage scam secure sell set share smuggle
    spread spy stalk start steal stop store sell tamper target threaten torture track traffic transport trick
    use vandalize write
    """.split()
_DOUBLED = frozenset("commit cut get kidnap plan put rob run scam set stop".split())
_IRREGULAR = {"lie": "lying", "traffic": "trafficking"}


def gerund(verb: str) -> str:
    """The -ing form of a verb in ``_VERBS``."""
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return verb.removesuffix("e") + "ing"


_INFINITIVES = {gerund(verb): verb for verb in _VERBS}


def _to_infinitive(phrase: str) -> str:
    """'secretly making and selling keys' -> 'secretly make and sell keys'; "start " before other verbs."""
    heads = list(re.finditer(r"(?:^(?:\w+ly\s+)?|\b(?:and|or)\s+(?:then\s+)?)(\w+ing)\b", phrase, re.I))
    if not heads or any(head[1].lower() not in _INFINITIVES for head in heads):
        return f"start {phrase}"
    for head in reversed(heads):
        phrase = phrase[: head.start(1)] + _INFINITIVES[head[1].lower()] + phrase[head.end(1) :]
    return phrase


def action(text: str) -> str | None:
    """The verb phrase that fits after "how to": no full stop, lower-case first letter. None where no rule fits.

    Imperatives that ask for a thing keep it: "Write a poem on theft." -> "write a poem on theft".
    """
    text = " ".join(text.split()).strip(" \"'")
    text = re.sub(r"^(?:please|kindly),?\s+", "", text, flags=re.I)
    first, _, rest = re.sub(r"[.!?\s]+$", "", text).partition(". ")
    if re.search(r"[?!]\s", text) or (rest and not _ASKED.match(first)):
        return None
    if asked := _ASKED.match(first):
        found = asked["do"]
    elif first.split(" ", 1)[0].lower().rstrip(",") in _NOT_IMPERATIVE or text.endswith("?") or len(first.split()) < 3:
        return None
    elif gerunds := _PLAN_FOR.match(first):
        found = _to_infinitive(gerunds["do"])
    elif planned := _HOW_TO.match(first) or _TEACH_TO.match(first) or _PLAN_TO.match(first):
        found = planned["do"]
    else:
        verb, _, thing = first.partition(" ")
        found = f"{_ASKER.get(verb.lower(), verb)} {thing}"
    return found[0].lower() + found[1:] if not found[:2].isupper() else found
