"""Where the end of one batch is told: `callback_url`, or `webhook_url` in its metadata. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchline.errors import Invalid
from batchline.outbound.addresses import Network
from batchline.webhooks.addresses import accepted_url

from . import parameters

FIELD = "callback_url"
IN_METADATA = "webhook_url"
_SETTING = "BATCHLINE_WEBHOOK_SECRET"


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What this server can do for a batch that wants its end told."""

    is_signed: bool
    """Whether it has a secret to sign with; without one nothing is told."""
    networks: Sequence[Network]
    """Beside public addresses."""


def callback_url(
    given: parameters.Json, metadata: Mapping[str, str] | None, callbacks: Callbacks
) -> str | None:
    """Return the URL that is told, None for none; `given` is the field, and wins over the metadata.

    Without a secret the metadata is the client's own affair. Raises Invalid.
    """
    if given is None:
        text = (metadata or {}).get(IN_METADATA) if callbacks.is_signed else None
        param = f"metadata.{IN_METADATA}"
        return text and accepted_url(text, param=param, networks=callbacks.networks)
    url = parameters.string(given, param=FIELD)
    if not callbacks.is_signed:
        raise Invalid(
            f"Invalid '{FIELD}': this server signs nothing, so it tells nobody. Leave it out, or ask "
            f"the operator to set {_SETTING}.",
            param=FIELD,
            code="invalid_value",
        )
    return accepted_url(url, param=FIELD, networks=callbacks.networks)
