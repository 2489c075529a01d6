"""What an operator's JSON asks for, read as strictly as what clients send. Pure; a Refused says how to ask."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Limits
from accel.errors import RequestError
from accel.http.message import Request
from accel.http.request_parser import RequestParser
from accel.server.admin_answers import Refused

MOST_NAMES = 1000
"""URLs or tags in one purge."""
_PURGE_FORM = 'write {"urls": ["http://host/path"]}, {"tags": ["a"]} or {"all": true}; beside it "soft": true'
"""What a purge may look like."""
_EXPLAIN_FORM = 'write {"url": "http://host/path", "method": "GET", "fields": [["Name", "value"]], "from": "192.0.2.1"}'
LONGEST_PROFILE_S = 600
LIMITS = Limits(body_bytes=4 * 1024 * 1024)


def purges(body: Any) -> list[Purge]:
    """Return what a body of `/purge` asks for: one for each URL, one for all tags together, or one for everything."""
    is_soft = body.get("soft", False)
    named = [name for name in ("urls", "tags", "all") if name in body]
    if len(named) != 1 or not isinstance(is_soft, bool):
        raise Refused(400, _PURGE_FORM)
    if named == ["all"]:
        if body["all"] is not True:
            raise Refused(400, _PURGE_FORM)
        return [Purge(What.ALL, (), is_soft)]
    texts = body[named[0]]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise Refused(400, _PURGE_FORM)
    if len(texts) > MOST_NAMES:
        raise Refused(413, f"at most {MOST_NAMES} {named[0]} at once".replace("urls", "URLs"))
    if named == ["tags"]:
        return [Purge(What.TAG, tuple(map(_tag, texts)), is_soft)]
    return [Purge(What.URL, (primary_key(*_place(url)),), is_soft) for url in texts]


def asked_about(body: Any) -> tuple[Request, str]:
    """Return the request, and the address that it comes from, that a body of `/explain` describes."""
    url, method, client_ip = body.get("url"), body.get("method", "GET"), body.get("from", "")
    fields = body.get("fields", [])
    if not all(isinstance(text, str) for text in (url, method, client_ip)) or not _are_pairs(fields):
        raise Refused(400, _EXPLAIN_FORM)
    host, target = _place(url)
    try:
        client_ip = client_ip and str(ip_address(client_ip))
    except ValueError:
        raise Refused(400, f"{client_ip!r} is no address") from None
    given = [f"{name}: {value}" for name, value in fields if name.lower() != "host"]
    head = [f"{method} {target.decode()} HTTP/1.1", f"Host: {host.decode()}", *given]
    try:
        return request_of("\r\n".join([*head, "", ""]).encode("latin-1")), client_ip
    except (RequestError, UnicodeEncodeError) as error:
        raise Refused(getattr(error, "status", 400), str(error)) from None


def profile_of(body: Any) -> tuple[int, float]:
    """Return the worker, and for how many seconds, that a body of `/profile` asks for."""
    worker, seconds = body.get("worker", 1), body.get("seconds", 10)
    if type(worker) is not int or type(seconds) not in (int, float) or not 0 < seconds <= LONGEST_PROFILE_S:
        raise Refused(400, f'write {{"worker": 1, "seconds": 10}}, at most {LONGEST_PROFILE_S} seconds')
    return worker, seconds


def _are_pairs(fields: object) -> bool:
    return isinstance(fields, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in fields
    )


def _tag(text: str) -> bytes:
    """Return a tag as a field of a response may carry it."""
    try:
        tag = text.strip().encode("latin-1")
    except UnicodeEncodeError:
        raise Refused(400, f"no tag: {text!a}; write it as the response's field has it") from None
    if not tag or not text.isprintable():
        raise Refused(400, f"no tag: {text!a}; write it as the response's field has it")
    return tag


def _place(url: str) -> tuple[bytes, bytes]:
    """Return a URL's host in key form and its target, read exactly as a request for it would be."""
    url = url.partition("#")[0]
    if not url.lower().startswith(("http://", "https://")):
        path = url if url.startswith("/") else "/path"
        raise Refused(400, f"write the whole URL, such as http://host{path}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Refused(400, f"not a URL as it is sent: {url!a}; percent-encode what is not ASCII")
    try:
        request = request_of(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % url.encode())
    except RequestError as error:
        raise Refused(400, f"{url}: {error.why}") from None
    return request.host, request.target


def request_of(head: bytes) -> Request:
    """Return a request exactly as clients' are read. Raises RequestError."""
    reader = _Reader()
    RequestParser(reader, LIMITS).feed(head)
    if reader.request is None:
        raise RequestError(400, "this is no request")
    return reader.request


class _Reader:
    """Keeps what the strict parser understood (`RequestSink`)."""

    request: Request | None = None

    def request_begun(self, request: Request) -> None:
        self.request = self.request or request

    def body_received(self, data: bytes) -> None:
        pass

    def request_ended(self) -> None:
        pass
