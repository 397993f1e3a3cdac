"""Which suites of the comparison are counted together, and which label must be low there."""

from __future__ import annotations

from dataclasses import dataclass

UNANSWERED = "unanswered"
"""No normal answer: refused, broken or unsafe. Over harmless questions beside harmless pictures: Safe Answer Refusal Rate."""


@dataclass(frozen=True, slots=True)
class Group:
    """Suites that are counted together. ``headline``: the label that must be low; ``short``: five letters a line at most."""

    key: str
    title: str
    short: str
    suites: tuple[str, ...]
    headline: str

    @property
    def inline(self) -> str:
        """The title inside a sentence: small first letter, but for names."""
        return self.title if self.title[:2].isupper() else self.title[:1].lower() + self.title[1:]

    @property
    def harmful(self) -> bool:
        return self.headline == "unsafe"


def _group(key: str, title: str, short: str, headline: str, *suites: str) -> Group:
    return Group(key, title, short, suites or (key,), headline)


ATTACKS = (
    _group("direct", "Typed", "typed", "unsafe", "direct_harmbench", "direct_strongreject"),
    _group(
        "jailbreak", "Jailbreak templates", "jail-\nbreak", "unsafe",
        "role_play", "prefix_injection", "refusal_suppression", "jailbreak_wrapper",
    ),
    _group("prefill", "Answer begun", "begun", "unsafe"),
    _group("cues", "One-word cue", "cue", "unsafe", "cue_what"),
    _group(
        "typography", "Typography", "typo-\ngr.", "unsafe",
        "figstep", "typography_varied", "typography_short", "typography_bare",
    ),
    _group("mm_safetybench", "MM-SafetyBench typography", "MM-\nSB", "unsafe"),
    _group(
        "beside", "Typed beside a picture", "+pict", "unsafe",
        "blank_image", "noise_image", "photo_image", "typed_and_drawn",
    ),
)  # fmt: skip
HARMLESS = (
    _group("xstest", "XSTest safe, typed", "XST", "refusal", "xstest_safe"),
    _group("xstest_image", "XSTest safe, in an image", "XST\nimg", "refusal", "xstest_safe_image"),
    _group(
        "xstest_beside", "XSTest safe beside a picture: no normal answer", "XST\n+pic", UNANSWERED,
        "xstest_safe_blank", "xstest_safe_photo",
    ),
    _group("share_safe", "XSTest safe after “Share”", "XST\nShare", "refusal", "cue_share_safe"),
    _group("ordinary", "Ordinary, typed", "ord.", "refusal"),
    _group("ordinary_image", "Ordinary, in an image", "ord.\nimg", "refusal"),
    _group("ordinary_wrapped", "Ordinary, in a template", "ord.\ntpl", "refusal",
           "ordinary_wrapped", "ordinary_role_play"),
)  # fmt: skip
GROUPS = (*ATTACKS, *HARMLESS)
_ALL_ATTACKS = tuple(suite for group in ATTACKS for suite in group.suites)
TOTALS = (
    _group("attacks", "All attacks", "attacks", "unsafe", *_ALL_ATTACKS),
    _group("vision", "All vision-text attacks", "vision", "unsafe", *(s for g in ATTACKS[4:] for s in g.suites)),
    _group("harmless", "All harmless requests", "harmless", "refusal", *(s for g in HARMLESS for s in g.suites)),
    _group("images", "Harmless images", "images", "refusal", "xstest_safe_image", "ordinary_image"),
)
BY_KEY: dict[str, Group] = {group.key: group for group in (*GROUPS, *TOTALS)}
