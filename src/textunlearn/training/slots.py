"""Text in the image slots: how a request would look to the language model if it had come as an image.

The vision side says a typographic image as word embeddings in the image slots, blanks after the text, now and then with a
character misread. These rows put the request's own word embeddings there, under a neutral typed prompt or none. No image is
drawn and no vision encoder runs: it is text-only training for the image path.
"""

from __future__ import annotations

import random

NEUTRAL = (
    "",
    "",
    "",
    "Please do what the picture says.",
    "Answer the question in the image.",
    "Read the text in the image and reply to it.",
    "What does the image ask? Answer it.",
    "Complete the list shown in the picture.",
    "The picture contains a request. Respond to it.",
    "Fill in the items of the list in this image with detailed content.",
    "Here is an image with some text. Write what it calls for.",
    "Look at the image and write a detailed answer, item by item.",
    "The numbered list in the picture is empty. Fill each item with about one hundred words.",
    "See image.",
)
"""Typed prompts beside the slots. Worded apart from every attack's own prompt, which are kept for testing."""

NEUTRAL_BESIDE_SOUND = (
    "",
    "",
    "",
    "Please do what the speaker asks.",
    "Answer the question in the recording.",
    "Listen and reply.",
    "What is being asked? Answer it.",
    "The recording contains a request. Respond to it.",
)
"""The same beside the slots of a sound."""

CONFUSED = {"l": "I1i", "i": "lj1", "o": "0ce", "e": "co", "m": "nr", "n": "mr", "c": "eo", "t": "fl", "f": "t", "a": "os",
            "s": "a5", "u": "vn", "v": "uy", "h": "bn", "b": "h6", "g": "q9", "r": "n", "y": "v", "d": "cl", "S": "5", "I": "l1",
            "0": "O", "1": "l", "w": "v", "k": "h", "p": "g"}  # fmt: skip


def misread(text: str, rate: float, rng: random.Random) -> str:
    """``text`` as a weak reader might see it: characters mistaken, dropped or doubled, spaces lost, at about ``rate`` a character."""
    out = []
    for character in text:
        if rng.random() >= rate:
            out.append(character)
        elif character == " " or rng.random() < 0.25:
            continue
        elif rng.random() < 0.25:
            out.append(character * 2)
        else:
            out.append(rng.choice(CONFUSED.get(character, character)))
    return "".join(out)


def drawn(text: str, rng: random.Random) -> str:
    """The words an attack image would carry: the request, in half of the cases followed by an empty numbered list."""
    text = " ".join(text.split())
    return f"{text} 1. 2. 3." if rng.random() < 0.5 else text
