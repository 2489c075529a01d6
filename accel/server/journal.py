"""What the processes say to an operator: one event a line on standard error, with `key=value` facts."""

from __future__ import annotations

import sys
import time


def note(event: str, **facts: object) -> None:
    """Write one event; values with spaces are quoted."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    text = "".join(f" {name.rstrip('_')}={_shown(value)}" for name, value in facts.items())
    try:
        sys.stderr.write(f"{stamp} {event}{text}\n")
        sys.stderr.flush()
    except OSError:
        return  # nobody listens any more, and an exchange must not fail for it


def _shown(value: object) -> str:
    text = str(value)
    return repr(text) if " " in text or not text else text
