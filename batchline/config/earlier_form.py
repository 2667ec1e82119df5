"""The earlier form of the settings file, in sections: which setting each of its keys is. Pure.

`SECTIONS` is all there is to it: what a key does, what it may be and what wins over it are those of the
setting. docs/earlier-yaml.md explains each to users.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .unknown_names import nearest

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "model": {
        "path": "fleet_model",
        "tensor_parallel_size": "fleet_tensor_parallel_size",
    },
    "serving": {
        "batch_size": "sync_batch_size",
        "batch_interval": "sync_batch_interval_s",
        "max_concurrent_requests": "sync_max_concurrent_requests",
        "response_role": "fleet_response_role",
        "enable_prompt_tokens_details": "fleet_prompt_tokens_details",
    },
    "metrics": {
        "enable": "serve_metrics",
        "url": "metrics_host",
        "port": "metrics_port",
    },
    "logging": {
        "level": "log_level",
        "max_log_len": "fleet_max_log_len",
    },
    "security": {
        "api_key": "api_key",
    },
}
"""Section -> key -> setting."""
_PAGE = "docs/earlier-yaml.md"


def is_earlier(content: Mapping[str, Any]) -> bool:
    """Whether a file is written in the earlier form. No setting is named as one of its sections."""
    return not SECTIONS.keys().isdisjoint(content)


def translate(content: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the setting, the key as `section.key`, and the value of each key that is known."""
    for section, settings in SECTIONS.items():
        keys = content.get(section)
        for key, setting in settings.items():
            if isinstance(keys, Mapping) and key in keys:
                yield setting, f"{section}.{key}", keys[key]


def faults(content: Mapping[str, Any], fields: Collection[str], where: str) -> Iterator[str]:
    """Name every section and key that is none, each with the nearest one.

    `fields`: the names of the settings. `where` is told after each name.
    """
    for section, keys in content.items():
        if section not in SECTIONS:
            yield _stray(section, fields, where)
        elif isinstance(keys, Mapping):
            yield from (
                _unknown(section, str(key), where) for key in keys if key not in SECTIONS[section]
            )
        elif keys not in (None, ""):  # nothing stands in it
            first = next(iter(SECTIONS[section]))
            yield (
                f"{section}{where}: a section, which holds keys, such as '{section}: {{{first}: …}}'; "
                f"{_known(section)}"
            )


def _stray(name: str, fields: Collection[str], where: str) -> str:
    if name in fields:
        return (
            f"{name}{where}: a setting beside sections of the earlier form; write the file in one form "
            f"({_PAGE})"
        )
    near = nearest(name.lower(), SECTIONS)
    hint = f"did you mean {near}? " if near else ""
    return f"{name}{where}: no such section; {hint}there are {', '.join(SECTIONS)} ({_PAGE})"


def _unknown(section: str, key: str, where: str) -> str:
    near = nearest(key.lower(), SECTIONS[section])
    paths = {known: f"{other}.{known}" for other, keys in SECTIONS.items() for known in keys}
    elsewhere = nearest(key.lower(), paths)
    meant = f"{section}.{near}" if near else elsewhere and paths[elsewhere]
    hint = f"did you mean {meant}? " if meant else ""
    return f"{section}.{key}{where}: no such key; {hint}{_known(section)} ({_PAGE})"


def _known(section: str) -> str:
    return f"{section} has {', '.join(SECTIONS[section])}"
