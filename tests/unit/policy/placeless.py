"""Nodes without their places, to compare what two texts say."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from accel.policy.nodes import Place


def placeless(value: Any) -> Any:
    """Return nodes as plain tuples, places and the text's lines left out."""
    if isinstance(value, tuple):
        return tuple(map(placeless, value))
    if isinstance(value, Place) or not is_dataclass(value):
        return None if isinstance(value, Place) else value
    kept = (field.name for field in fields(value) if field.name not in ("lines", "place"))
    return (type(value).__name__, *(placeless(getattr(value, name)) for name in kept))
