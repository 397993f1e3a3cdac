"""Recorded speech in files: 16-bit WAV, opened in one way everywhere, and told apart by its samples."""

from __future__ import annotations

import hashlib
import io
import wave
from dataclasses import dataclass
from functools import cached_property
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING

from textunlearn.errors import UserError
from textunlearn.files import atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000
"""Samples a second of the sounds that are made here: what the speech encoders of language models take."""
LONGEST = 1800
"""Seconds: longer recordings are refused before they are decoded."""


@dataclass(frozen=True)
class Sound:
    """One channel of sound.

    Attributes:
        data: 16-bit samples, little-endian.
        rate: samples a second.
    """

    data: bytes
    rate: int = RATE

    @property
    def seconds(self) -> float:
        return len(self.data) / 2 / self.rate

    @property
    def samples(self) -> NDArray[np.int16]:
        import numpy as np

        return np.frombuffer(self.data, "<i2")

    @property
    def values(self) -> NDArray[np.float32]:
        """The samples from -1 to 1."""
        import numpy as np

        scaled: NDArray[np.float32] = self.samples.astype(np.float32) / np.float32(32768)
        return scaled

    @cached_property
    def sha256(self) -> str:
        """Hex SHA-256 of rate and samples: the same whatever else a file holds."""
        return hashlib.sha256(f"{self.rate} ".encode() + self.data).hexdigest()

    @classmethod
    def of(cls, values: NDArray[np.floating], rate: int = RATE) -> Sound:
        """Of ``values`` from -1 to 1; what is beyond is cut."""
        import numpy as np

        return cls(np.round(values * 32768).clip(-32768, 32767).astype("<i2").tobytes(), rate)

    def at(self, rate: int) -> Sound:
        """The same sound with another number of samples a second, by a polyphase filter."""
        if rate == self.rate:
            return self
        from scipy.signal import resample_poly

        common = gcd(rate, self.rate)
        return Sound.of(resample_poly(self.values.astype("float64"), rate // common, self.rate // common), rate)


def silence(seconds: float, rate: int = RATE) -> Sound:
    return Sound(bytes(2 * round(seconds * rate)), rate)


def read_wav(data: bytes, what: str) -> Sound:
    """The sound of a WAV file's bytes, its channels mixed into one. UserError, which calls it ``what``, for anything else."""
    import numpy as np

    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            if width != 2 or rate <= 0:
                raise wave.Error(f"it has {8 * width} bits a sample")
            if len(data) / (2 * channels * rate) > LONGEST:
                raise UserError(f"{what} is longer than {LONGEST // 60} minutes; cut it")
            frames = file.readframes(file.getnframes())
        samples = np.frombuffer(frames[: len(frames) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)
    except (wave.Error, EOFError, ValueError, ZeroDivisionError) as error:
        said = str(error) or "it ends too early"
        raise UserError(f"{what} cannot be read: {said}; save it as WAV with 16 bits a sample") from None
    if not len(samples):
        raise UserError(f"{what} holds no sound; record it again")
    mixed = samples[:, 0] if channels == 1 else np.round(samples.mean(1)).astype("<i2")
    return Sound(mixed.tobytes(), rate)


def open_sound(path: Path) -> Sound:
    """The sound of a WAV file. UserError if it is missing or cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no sound {path}; check its name") from None
    except OSError as error:
        raise UserError(f"the sound {path} cannot be read: {error.strerror}") from None
    return read_wav(data, f"the sound {path}")


def wav(sound: Sound) -> bytes:
    """A WAV file of ``sound``: the same bytes for the same sound."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(sound.data)
    return buffer.getvalue()


def write_sound(sound: Sound, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_bytes(wav(sound))
