"""What is asked of the servers: a table of works, each a template of requests and what must be true of it.

Owns the requests. Knows no peer, save those that accel is set up as for works of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from side.peers import PAIRED, PEERS, RULED, TWIN, Peer

ZIPF_URLS = 10_000
SMALL = 1024
NUMBER = "#" * 10
"""Where the load generator writes a number."""
UNIQUE = "@" * 10
"""Where it writes one that no request before had."""
BROWSER = """\
Host: www.example.org
User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8
Accept-Language: en-US,en;q=0.5
Accept-Encoding: gzip, deflate, br
Upgrade-Insecure-Requests: 1
Sec-Fetch-Dest: document
Sec-Fetch-Mode: navigate
Sec-Fetch-Site: none
Priority: u=0, i
"""
"""Ten fields; with Connection they are eleven, as a browser sends them."""


class Way(Enum):
    """How a work is measured."""

    CPU = auto()
    """Server CPU a request, while all connections always wait for an answer."""
    PACED = auto()
    """The answers' times while requests come at 70 % of what one core of this server can do."""
    EVEN = auto()
    """The same, all at the rate of the slowest."""
    IDLE = auto()
    """Memory a connection that waits for its next request."""


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of load."""

    name: str
    title: str
    path: str
    size: int = SMALL
    is_hit: bool = True
    """Whether no request may reach the origin; else each of them has to."""
    cookie: str = ""
    urls: int = 0
    """So many URLs are asked for by Zipf's law; 0: one, or a new one each where the path has a number."""
    connections: int = 32
    closes: bool = False
    way: Way = Way.CPU
    asks_first: bool = True
    """Whether an idle connection had a request answered already."""
    own: Peer | None = None
    """The accel that does this work, beside nobody but the usual one."""

    @property
    def turns(self) -> int:
        """How often it is measured in a round: a few percent between two accels are less than one turn's noise."""
        return 4 if self.own else 1

    def request(self) -> str:
        """Return the template of its requests."""
        cookie = f"Cookie: {self.cookie}\n" if self.cookie else ""
        end = "Connection: close\n" if self.closes else "Connection: keep-alive\n"
        return f"GET {self.path} HTTP/1.1\n{BROWSER}{cookie}{end}\n".replace("\n", "\r\n")

    def peers(self) -> dict[str, Peer]:
        """Return who does this work, by name."""
        if self.own is not None:
            return {"accel": PEERS["accel"], self.own.name: self.own}
        if self.is_hit and self.way is not Way.IDLE:
            return PEERS
        return {name: peer for name, peer in PEERS.items() if peer.forwards}  # the limit keeps nothing a connection


PAGE = f"/s/{SMALL}/page"
COOKIE = f"_ga=GA1.2.1234567890.1700000000; theme=dark; sessiontoken={UNIQUE}"
WORKS = {
    work.name: work
    for work in (
        Work("hit", "1 KiB hit, eleven browser fields", PAGE),
        Work("cookie", "the same, a new cookie each", PAGE, cookie=COOKIE),
        Work("zipf", f"1 KiB hit, {ZIPF_URLS:,} URLs by Zipf", f"/s/{SMALL}/{NUMBER}", urls=ZIPF_URLS),
        Work("hit64k", "64 KiB hit", f"/s/{64 << 10}/page", 64 << 10),
        Work("hit1m", "1 MiB hit", f"/s/{1 << 20}/page", 1 << 20, connections=8),
        Work("pass", "1 KiB pass (no-store)", f"/n/{SMALL}/page", is_hit=False),
        Work("miss", "1 KiB miss, stored", f"/s/{SMALL}/{NUMBER}", is_hit=False),
        Work("connect", "1 KiB hit, a new connection each", PAGE, closes=True),
        Work("twin", "1 KiB hit, the same accel once more", PAGE, own=TWIN),
        Work("rules", "1 KiB hit under 500 rules", PAGE, own=RULED),
        Work("rules-cookie", "1 KiB hit under 500 rules, a new cookie each", PAGE, cookie=COOKIE, own=RULED),
        Work("workers", "1 KiB hit, two workers on two cores", PAGE, own=PAIRED),
        Work("paced", "1 KiB hits, 70 % of its capacity: p99", PAGE, connections=64, way=Way.PACED),
        Work("even", "1 KiB hits, 70 % of the slowest's: p99", PAGE, connections=64, way=Way.EVEN),
        Work("idle", "idle connection after a request", PAGE, way=Way.IDLE),
        Work("idle-new", "idle connection before its first request", PAGE, way=Way.IDLE, asks_first=False),
    )
}
