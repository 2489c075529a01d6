"""The status page: its parts, from `page/`, made one HTML document that asks nobody but the admin for anything.

Owns the document and what it may do: its Content-Security-Policy allows the one script and the one style that stand in
it, by their hashes (CSP3 §2.3.1), and connections to where it came from. All that varies is the token (`browsers`).
What the script writes into the page comes from requests and origins, so it uses `textContent` alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path

from accel.http.message import Line
from accel.stats.counters import COUNTERS

_PARTS = Path(__file__).parent / "page"
STYLES = ("status.css",)
SCRIPTS = ("elements.js", "charts.js", "tables.js", "log.js", "status.js")
"""In the order in which they stand in the page: each uses those before it."""


def document(token: str) -> tuple[bytes, tuple[Line, ...]]:
    """Return the page and the fields that go with it."""
    text, policy = _document()
    lines = (
        (b"content-security-policy", policy),
        (b"referrer-policy", b"no-referrer"),
        (b"x-content-type-options", b"nosniff"),
    )
    return text.replace("{{token}}", token).encode(), lines


@lru_cache(maxsize=1)
def _document() -> tuple[str, bytes]:
    style, script = _joined(STYLES), _joined(SCRIPTS)
    allowed = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "data:",  # an empty icon, so that no browser asks for one
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    meanings = json.dumps({one.name: (one.unit, one.meaning) for one in COUNTERS}).replace("<", "\\u003c")
    text = (_PARTS / "status.html").read_text("utf-8").replace("{{meanings}}", meanings)
    text = text.replace("{{style}}", style).replace("{{script}}", script)
    return text, "; ".join(f"{name} {value}" for name, value in allowed.items()).encode()


def _joined(names: tuple[str, ...]) -> str:
    return "\n" + "\n".join((_PARTS / name).read_text("utf-8").strip() for name in names) + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
