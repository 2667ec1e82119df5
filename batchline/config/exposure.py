"""Whether other machines reach the gateway without a key; then it starts only with `insecure`. Pure."""

from __future__ import annotations

from batchline.errors import Invalid
from batchline.serving.listening import is_loopback
from batchline.settings import Settings

INSECURE_WARNING = (
    "other machines reach this server without a key: whoever does may change and delete everything"
)
_REMEDIES = (
    "Set BATCHLINE_API_KEY, such as `openssl rand -hex 32` makes, or use 127.0.0.1.",
    "Where whoever reaches it may do everything: --insecure (BATCHLINE_INSECURE=true).",
)
_IN_A_CONTAINER = (
    "In a container whose port is published on loopback alone: BATCHLINE_PUBLISHED_ON=127.0.0.1."
)


def check_exposure(settings: Settings) -> None:
    """Raise Invalid if the gateway would be open to other machines and `insecure` is not set."""
    if not is_open_to_others(settings) or settings.insecure:
        return
    if settings.published_on is not None:
        where = f"it is published on {settings.published_on} (BATCHLINE_COMPOSE_BIND, BATCHLINE_PUBLISHED_ON)"
        remedies = list(_REMEDIES)
    else:
        where = f"it would listen on {settings.host} (--host, BATCHLINE_HOST)"
        remedies = [*_REMEDIES, _IN_A_CONTAINER]
    raise Invalid(
        "\n".join((f"Without a key other machines could use this server: {where}.", *remedies))
    )


def is_open_to_others(settings: Settings) -> bool:
    """Whether other machines reach the gateway without a key."""
    return settings.api_key is None and not is_loopback(settings.published_on or settings.host)
