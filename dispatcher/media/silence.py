"""Half a second of silence, as a data URL: the shortest audio that servers take, for canaries. Pure."""

from __future__ import annotations

import io
import wave
from base64 import b64encode
from functools import cache

_RATE_HZ = 16_000  # what Whisper works with
_SECONDS = 0.5


@cache
def silence() -> str:
    """Return it as WAV."""
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(_RATE_HZ)
        audio.writeframes(bytes(2 * int(_RATE_HZ * _SECONDS)))
    return "data:audio/wav;base64," + b64encode(file.getvalue()).decode()
