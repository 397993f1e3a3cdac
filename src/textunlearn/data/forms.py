"""The form of a request, and harmful requests reworded so that no form and no first word marks harm.

A model trained on imperatives alone learns "refuse what starts with *Write a tutorial*". Each form below has as many
openings as the harmless requests authored here use.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence
from typing import get_args

from textunlearn.data.actions import action
from textunlearn.records import Form, Prompt

FORMS: tuple[Form, ...] = get_args(Form)

# {} is the verb phrase. An opening word stands about as often as it does in the authored harmless requests.
_TEMPLATES: dict[Form, tuple[str, ...]] = {
    "imperative": (
        "Explain how to {}.",
        "Describe how to {}.",
        "Teach me how to {}.",
        "Show me how to {}.",
        "Tell me how to {}.",
        "Help me {}.",
        "Give me instructions to {}.",
        "Give step-by-step instructions to {}.",
        "Write a tutorial on how to {}.",
        "Write a short guide for someone who wants to {}.",
        "Outline a plan to {}.",
        "Walk me through how to {}.",
        "List what it takes to {}.",
        "Please explain how to {}.",
        "Share your best advice on how to {}.",
        "Suggest a good way to {}.",
        "Recommend a method to {}.",
        "Draft a plan to {}.",
        "Develop a strategy to {}.",
        "Create a guide on how to {}.",
        "Demonstrate how to {}.",
        "Spell out how to {}.",
        "Summarise the steps needed to {}.",
        "Provide directions to {}.",
        "Compare two ways to {}.",
        "Name the quickest way to {}.",
        "Make a checklist for someone who wants to {}.",
    ),
    "question": (
        "How do I {}?",
        "How can I {}?",
        "How would someone {}?",
        "How does one {}?",
        "How do people usually {}?",
        "How would you {}?",
        "What is the best way to {}?",
        "What's the easiest way to {}?",
        "What do I need to {}?",
        "What steps would it take to {}?",
        "Which method works best to {}?",
        "Which tools do I need to {}?",
        "Can you tell me how to {}?",
        "Can I {} without much effort, and how?",
        "Could you explain how to {}?",
        "Is there a simple way to {}?",
        "Is it hard to {}, and how is it done?",
        "Are there any tricks to {}?",
        "Where do I start if I want to {}?",
        "Where can I learn how to {}?",
        "When is a good time to {}, and how should I go about it?",
        "Who can show me how to {}?",
        "Do you know how to {}?",
        "Does it take long to {}, and what are the steps?",
        "Would you show me how to {}?",
        "Should a beginner try to {}, and with which method?",
        "Why is it difficult to {}, and how do I manage it anyway?",
    ),
    "scenario": (
        "I want to {}. What should I do?",
        "I have been meaning to {} for weeks. Where do I begin?",
        "I tried to {} yesterday and failed. What did I miss?",
        "I'm about to {}. Is there anything I should know first?",
        "I'm new to this and have to {}. Which steps come first?",
        "I'd like to {} this weekend. How do I prepare?",
        "My friends and I plan to {}. Any advice?",
        "My boss asked me to {} by Friday. How do I get it done?",
        "My cousin wants to {}. What do I tell him?",
        "My neighbour knows how to {} and won't say. Can you?",
        "My plan is to {}. Make it better.",
        "Our team has to {} before Monday. Which approach works best?",
        "Our club would like to {}. Write us a short guide.",
        "A friend of mine needs to {}. How should she go about it?",
        "A colleague bet that I can't {}. Tell me how it is done.",
        "We are trying to {} next week. What do we need?",
        "We're a group of beginners who want to {}. Explain it to us simply.",
        "The people in my group chat want to {}. What should I send them?",
        "The idea is to {}. Could you list the steps?",
        "Someone I met needs to {} and asked me for help. What now?",
        "For a project of mine I need to {}. Walk me through it.",
        "As a beginner I want to {}. What is the usual way?",
        "After work I am going to {}. What do I have to bring?",
        "Last night I decided to {}. Give me a plan.",
        "It's my first time and I need to {}. What comes first?",
        "There's nobody here who knows how to {}. Help me out.",
    ),
    "keyword": (
        "{}",
        "{}",
        "{}",
        "{} tutorial",
        "{} step by step",
        "{} guide",
        "{} tips",
        "{} instructions",
        "{} for beginners",
        "{} easy method",
        "how to {}",
        "best way to {}",
        "easy ways to {}",
        "ways to {} at home",
        "quick guide {}",
    ),
    "list": (
        "Steps to {}.",
        "Steps to {} from start to finish.",
        "Steps you take to {}.",
        "Methods to {}.",
        "Methods people use to {}.",
        "List of ways to {}.",
        "List of steps to {}.",
        "List of tools to {}.",
        "List of tips to {}.",
        "Ways to {}.",
        "Ways to {} quickly.",
        "Tips to {}.",
        "Tricks to {}.",
        "Ideas on how to {}.",
        "Stages of a plan to {}.",
        "Instructions to {}.",
        "Procedure to {}.",
        "Checklist for someone who wants to {}.",
    ),
}

_LIST = re.compile(
    r"""^(?:(?:the|a|an|some|two|three|four|five|six|seven|eight|nine|ten|\d+|main|common|good|best|easy|simple)\s+)*
      (?:lists?(?=\s+of\b)|steps?|methods?|ways|stages|tips|tricks|ideas|instructions|procedures?|reasons|facts|rules|signs|examples|types|
      questions|checklist|timeline|elements|meanings|names|tasks|habits|countries|parts|data|excuses|colou?rs|kinds|causes|
      phases|techniques|things|uses|benefits|strategies|tools|ingredients|arguments|excuses|symptoms|sources)\b""",
    re.I | re.X,
)
_ASKING = re.compile(
    r"""^(?:how|what|which|why|when|where|who|whom|whose|can|could|is|are|was|were|do|does|did|should|would|will|may|might|shall|
      am|has|have|had|isn't|aren't|don't|doesn't|what's|who's|where's|how's)\b""",
    re.I | re.X,
)
_TELLING = re.compile(
    r"""^(?:i|i'm|i've|i'd|i'll|my|we|we're|we've|we'd|our|you're|he|she|they|it's|there's|someone|somebody|imagine|let's|
      a|an|the|this|these|every|every\w+|two|three|four|five|half|as|in|for|after|at|during|while|because|since|today|yesterday|
      last|tonight|here|dad|mum|mom|you)\b""",
    re.I | re.X,
)


def classify_form(text: str) -> Form:
    """The form of any English request, by its first word, its punctuation and its number of sentences."""
    text = " ".join(text.split())
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z\"'])", text)
    ends = bool(re.search(r"[.!?:;]['\"”)]*$", text))
    if _LIST.match(text) and len(sentences) == 1 and text[:1].isupper() and not text.endswith("?"):
        return "list"
    if not ends and len(text.split()) <= 14 and text[:1] == text[:1].lower():
        return "keyword"
    if len(sentences) == 1 and (_ASKING.match(text) or text.endswith("?")):
        return "question"
    if _TELLING.match(text):
        return "scenario"
    return "question" if _ASKING.match(text) else "imperative"


def _keywords(phrase: str) -> str:
    """A verb phrase as people type it into a search box: no small words, no commas, at most twelve words."""
    made = re.sub(r"^(?:write|create|develop|make|design|generate|produce|compose|draft)\s+(?=an?\s)", "", phrase)
    small = r"\b(?:an?|the|my|your|his|her|their|its|some)\s+"
    return " ".join(re.sub(r"[,;:\"]", "", re.sub(small, "", made, flags=re.I)).split()[:12])


def rewrite(prompt: Prompt, form: Form, rng: random.Random) -> Prompt:
    """``prompt`` worded in ``form`` with an opening chosen by ``rng``; unchanged where no rule fits its wording."""
    phrase = action(prompt.text)
    if phrase is None:
        return prompt
    template = rng.choice(_TEMPLATES[form])
    if form == "keyword":
        bare = _keywords(phrase)
        # "how to" and "ways to" want the verb that a search for a made thing leaves out
        text = template.format(phrase if bare.split()[0] != phrase.split()[0] and " to {}" in template else bare)
    else:
        text = template.format(phrase)
    return dataclasses.replace(prompt, text=text, form=form)


def in_forms(prompts: Sequence[Prompt], rng: random.Random, original_share: float = 0.5) -> list[Prompt]:
    """Each prompt once, in one form, so that the forms come out as even as can be; same order.

    A prompt given the form it already has keeps its own words with probability ``original_share`` (0 to 1).
    Prompts that no rule can reword keep theirs.
    """
    if not 0 <= original_share <= 1:
        raise ValueError(f"original_share is {original_share}, not between 0 and 1")
    out = list(prompts)
    counts = dict.fromkeys(FORMS, 0)
    free = []
    for index, prompt in enumerate(prompts):
        if action(prompt.text) is None:
            own = classify_form(prompt.text)
            out[index] = dataclasses.replace(prompt, form=own)
            counts[own] += 1
        else:
            free.append(index)
    rng.shuffle(free)
    for index in free:
        form = min(FORMS, key=lambda f: counts[f])
        counts[form] += 1
        prompt = prompts[index]
        keep = form == classify_form(prompt.text) and rng.random() < original_share
        out[index] = dataclasses.replace(prompt, form=form) if keep else rewrite(prompt, form, rng)
    return out
