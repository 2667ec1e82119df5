"""Reads what a /metrics page says, by the format's own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def samples(page, name):
    """Return (labels, value) of each sample of this name."""
    return [
        (sample.labels, sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    ]


def total(page, name, **labels):
    """Return the sum of the samples of this name that have these labels."""
    return sum(value for had, value in samples(page, name) if labels.items() <= had.items())
