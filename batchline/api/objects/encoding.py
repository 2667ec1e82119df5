"""Shapes as JSON."""

from __future__ import annotations

import msgspec

encode = msgspec.json.Encoder().encode
"""Write a shape as JSON: fields in the order they are declared, none left out."""
