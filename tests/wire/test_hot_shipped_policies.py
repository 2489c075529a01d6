"""Visitors whom nobody knows, each with cookies of his own that only scripts read, under the policies that are shipped.

The answer that one of them got is replayed to the next where what the rules read is the same.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hot_pair import twins

from accel.config import LOOPBACK, CachingOptions
from accel.policy.built_in import built_in
from accel.policy.check import check
from accel.policy.compile import compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset
from accel.policy.sites import Sites

POLICIES = Path(__file__).parents[2] / "policies"
PAGES = {
    "default": "/",
    "django": "/news/",
    "media": "/a.jpg",
    "shop": "/shoes/",
    "static-site": "/a.css",
    "wordpress": "/2026/hello/",
}
"""A page of each that strangers share."""


def in_force(name: str) -> tuple[Sites, str]:
    """Return a shipped policy, and a host that it governs."""
    path = POLICIES / f"{name}.policy"
    checked = check(parse(path.read_text(), path.name), preset, lambda file: (POLICIES / file).read_text())
    caching = CachingOptions()
    host = next((host for host in checked.hosts if not host.startswith("*")), "example.org")
    return Sites([compiled(checked, caching, LOOPBACK)], built_in(caching, LOOPBACK)), host


@pytest.mark.parametrize("vary", ["accept-encoding", "accept-encoding, cookie"])
@pytest.mark.parametrize("name", PAGES)
async def test_strangers_share_replays(name: str, vary: str) -> None:
    if "cookie" in vary and name in ("default", "media"):
        vary = "accept-encoding"  # nothing there bounds what of the cookies the origin sees
    pair = twins()
    policies, host = in_force(name)
    pair.rule(policies)
    for scene in pair.both:
        scene.origin.page(PAGES[name], b"page", cache_control="max-age=60", content_type="text/html", vary=vary)

    for number in range(10):
        pair.connect()
        await pair.send(
            f"GET {PAGES[name]} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\nUser-Agent: browser {number}\r\n"
            f"Cookie: _ga=GA1.{number}; _gid=GA1.2.{number}\r\n\r\n".encode()
        )

    assert pair.hot.count("misses") == 1
    assert pair.replays >= 5
    await pair.end()


async def test_an_api_whose_rules_pass_all_cookies_replays_what_comes_without() -> None:
    pair = twins()
    policies, host = in_force("api")
    pair.rule(policies)
    for scene in pair.both:
        scene.origin.page("/v1/prices", b"{}", cache_control="max-age=60")

    for _ in range(2):
        await pair.send(f"GET /v1/prices HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() * 4)

    assert pair.hot.count("hits") == 7
    await pair.end()
