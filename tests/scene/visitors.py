"""Visitors of the scenes with real applications: each has a browser's cookies and no cache of its own."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from accel_process import Accel
from children import SOON_S
from http_clients import Answer


@dataclass(slots=True)
class Visitor:
    """Somebody who looks at one site."""

    accel: Accel
    host: str
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, target: str, **fields: str) -> Answer:
        """Return a page; `user_agent` in `fields` is User-Agent."""
        return self._ask("GET", target, None, fields)

    def post(self, target: str, **form: str) -> Answer:
        """Send a form."""
        body = urlencode(form).encode()
        return self._ask("POST", target, body, {"content_type": "application/x-www-form-urlencoded"})

    def _ask(self, method: str, target: str, body: bytes | None, fields: dict[str, str]) -> Answer:
        lines = {"host": self.host} | {name.replace("_", "-"): value for name, value in fields.items()}
        if self.cookies:
            lines["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.accel.port, timeout=SOON_S)
        try:
            connection.request(method, target, body, lines)
            response = connection.getresponse()
            named = {name.lower(): value for name, value in response.getheaders()}
            self._take(response.headers.get_all("set-cookie") or [])
            return Answer(response.status, named, response.read())
        finally:
            connection.close()

    def _take(self, said: list[str]) -> None:
        for line in said:
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
