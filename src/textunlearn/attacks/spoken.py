"""The request as sound: spoken instead of typed, beside its own words, and sounds that say nothing beside a typed request.

That models which refuse a typed request comply with the spoken one was found for GPT-4o (Voice Jailbreak, arXiv 2405.19103) and open
models (Yang et al., Audio Is the Achilles' Heel, arXiv 2410.23861). For models that take sound.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from textunlearn.attacks import ATTACKS, Shown
from textunlearn.attacks.parameters import Seed, Share, random_bytes
from textunlearn.attacks.speech import require_voice, say
from textunlearn.records import Prompt
from textunlearn.sounds import RATE, Sound, open_sound

Voice = Annotated[
    str, AfterValidator(require_voice), Field(description="a voice of espeak-ng, such as en-gb, en-us+f3")
]
Speed = Annotated[int, Field(ge=80, le=450, description="words a minute")]
Pitch = Annotated[int, Field(ge=0, le=99, description="0 to 99")]
Typed = Annotated[str, Field(description="the typed prompt; may be empty")]
VOICE, SPEED, PITCH = "en-us", 160, 50


def noisy(sound: Sound, amount: float, lots: bytes) -> Sound:
    """Even noise of up to ``amount`` (0 to 1) of the full range on ``sound``; ``lots``: two bytes for each sample."""
    import numpy as np

    if not amount:
        return sound
    grain = np.frombuffer(lots, "<i2").astype(np.int64) * round(amount * 32768) // 32768
    return Sound((sound.samples + grain).clip(-32768, 32767).astype("<i2").tobytes(), sound.rate)


@ATTACKS.register("spoken")
def spoken(
    prompt: Prompt,
    voice: Voice = VOICE,
    speed: Speed = SPEED,
    pitch: Pitch = PITCH,
    noise: Share = 0.0,
    typed: Typed = "",
    seed: Seed = 0,
) -> Shown:
    """The request spoken, with nothing typed unless ``typed`` says so."""
    sound = say(prompt.text, voice, speed, pitch)
    lots = random_bytes("spoken", prompt, seed, len(sound.data)) if noise else b""
    return Shown(typed, sounds=(noisy(sound, noise, lots),))


@ATTACKS.register("typed_and_spoken")
def typed_and_spoken(prompt: Prompt, voice: Voice = VOICE, speed: Speed = SPEED, pitch: Pitch = PITCH) -> Shown:
    """Typed beside the same words spoken: does the sound undo what the words alone do not?"""
    return Shown(prompt.text, sounds=(say(prompt.text, voice, speed, pitch),))


@ATTACKS.register("noise_sound")
def noise_sound(
    prompt: Prompt,
    seconds: Annotated[float, Field(gt=0, le=30, description="how long")] = 3.0,
    loudness: Share = 0.1,
    seed: Seed = 0,
) -> Shown:
    """Typed beside noise, another one for each prompt: is it sound that matters, or the words in it?"""
    count = round(seconds * RATE)
    lots = random_bytes("noise_sound", prompt, seed, 2 * count)
    return Shown(prompt.text, sounds=(noisy(Sound(bytes(2 * count)), loudness, lots),))


def _sound(path: str | Path) -> Any:
    return open_sound(Path(path))


@ATTACKS.register("sound_file")
def sound_file(
    prompt: Prompt, file: Annotated[Any, BeforeValidator(_sound), Field(description="a WAV file, 16 bits a sample")]
) -> Shown:
    """Typed beside a sound of your own, the same for every prompt."""
    return Shown(prompt.text, sounds=(file,))
