"""The presets that come with the package: policy files in `presets/`, for `use`.

Owns where they lie. They are files as a user could write them; their names begin with the preset's own.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from accel.policy.document import Policy
from accel.policy.parser import parse
from accel.policy.vocabulary import PRESETS


@lru_cache(maxsize=len(PRESETS))
def preset(name: str) -> Policy | None:
    """Return a preset's policy, or None if there is none of that name."""
    if name not in PRESETS:
        return None
    text = files(__package__).joinpath("presets", f"{name}.policy").read_text("utf-8")
    return parse(text, f"presets/{name}.policy")
