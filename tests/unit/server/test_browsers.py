"""What another site's page may not do with an operator's browser."""

from __future__ import annotations

import pytest

from accel.http.message import Request
from accel.server import browsers
from accel.server.admin_answers import Refused
from accel.server.admin_reading import request_of

HOSTS = browsers.ALWAYS_OURS | {b"10.0.0.5"}
JSON = "Content-Type: application/json"
TOKEN = "Accel-Token: secret"


def asked(line: str, host: str, *fields: str) -> Request:
    return request_of("\r\n".join([f"{line} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode())


def refusal(request: Request, hosts: frozenset[bytes] | None = HOSTS) -> int:
    """Return the status of the refusal, 0 if there is none."""
    try:
        browsers.check(request, request.target, hosts, "secret")
    except Refused as refused:
        return refused.status
    return 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((JSON,), 0),
        ((), 415),
        (("Content-Type: text/plain",), 415),
        ((JSON, "Origin: http://localhost:9000", TOKEN), 0),
        ((JSON, "Origin: http://localhost:9000", "Sec-Fetch-Site: same-origin", TOKEN), 0),
        ((JSON, "Origin: http://localhost:9000"), 403),
        ((JSON, "Origin: http://localhost:9000", "Accel-Token: guessed"), 403),
        ((JSON, "Origin: http://localhost:9001", TOKEN), 403),
        ((JSON, "Origin: http://evil.example", TOKEN), 403),
        ((JSON, "Origin: null", TOKEN), 403),
        ((JSON, "Origin: http://localhost:9000", "Sec-Fetch-Site: same-site", TOKEN), 403),
    ],
)
def test_a_tool_may_post_json_and_a_browser_only_from_the_page_that_has_the_token(
    fields: tuple[str, ...], status: int
) -> None:
    assert refusal(asked("POST /drain", "localhost:9000", *fields)) == status


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 0),
        (("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"), 0),
        (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"), 0),
        (("Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"), 0),
        (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"), 403),
        (("Origin: http://evil.example",), 403),
    ],
)
def test_another_site_may_link_to_the_page_and_ask_for_nothing_else(fields: tuple[str, ...], status: int) -> None:
    assert refusal(asked("GET /events", "localhost:9000", *fields)) == status


@pytest.mark.parametrize(
    ("host", "tcp", "unix"),
    [
        ("localhost:9000", 0, 0),
        ("127.0.0.1:9000", 0, 0),
        ("[::1]:9000", 0, 0),
        ("10.0.0.5", 0, 0),
        ("accel", 421, 0),
        ("10.0.0.6", 421, 0),
        ("evil.example:9000", 421, 421),
    ],
)
def test_a_name_that_somebody_else_can_point_here_is_refused(host: str, tcp: int, unix: int) -> None:
    request = asked("GET /stat", host)

    assert (refusal(request), refusal(request, None)) == (tcp, unix)


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_probe_may_use_any_name(path: str) -> None:
    assert refusal(asked(f"GET {path}", "10.244.0.17:8081")) == 0


@pytest.mark.parametrize(
    ("accept", "wants"),
    [("text/html,application/xhtml+xml,*/*;q=0.8", True), ("*/*", False), ("application/json", False), ("", False)],
)
def test_who_accepts_html_is_a_browser(accept: str, wants: bool) -> None:
    request = asked("GET /", "localhost", *((f"Accept: {accept}",) if accept else ()))

    assert browsers.wants_page(request) is wants
