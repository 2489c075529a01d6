"""What happens while relays are under way, drawn at random: with relays and without, clients and origins get the same.

As `test_relays_against_general`, but origins stop in the middle and go on when the life says so, several clients wait
at once, and a second worker, with relays of its own, asks for the same. Two things differ by design, and are avoided or
end the comparison: a client that leaves, or an origin that closes, while a relayed head waits for its end.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from piecewise_origin import STALLED, End, Reply, said
from relay_pair import RelayPair, same
from relay_sides import Side, Worker, is_held
from test_relays_against_general import (
    LIMITS,
    PLAIN,
    POLICIES,
    TARGETS,
    Asking,
    Doing,
    Passing,
    Saying,
    do,
    doings,
    good,
    oddly,
    plainly,
    purges,
    release,
    replies,
    run_uncollected,
)
from wire_scene import Client, Scene

from accel.caching.invalidation import Purge
from accel.config import CachingOptions, Limits
from accel.policy.sites import Sites

FRESH, UNSTORED = b"Cache-Control: max-age=60", b"Cache-Control: no-store"
TAGGED, VALIDATED = b"Surrogate-Key: a", b'ETag: "1"'
WHOLE = (
    *(said(line, body=b"body") for line in (FRESH, FRESH, FRESH, UNSTORED, UNSTORED, b"Cache-Control: private")),
    said(b"Cache-Control: max-age=1, stale-while-revalidate=5", body=b"body"),
    said(b"Cache-Control: max-age=2", VALIDATED, body=b"body"),
    said(FRESH, TAGGED, body=b"body"),
    said(FRESH, b"Vary: X-Device", body=b"body"),
    said(body=b"body"),
)
PIECES = (WHOLE[0][:-4], b"body"), (WHOLE[0][:-2], b"d", b"y"), (WHOLE[3][:-4], b"body")
LINES = ((), (FRESH,), (FRESH,), (FRESH, VALIDATED), (FRESH, TAGGED), (UNSTORED,), (FRESH, b"Connection: close"))
PARTS = (
    STALLED,
    STALLED,
    Reply((), End.CLOSE),
    *(Reply((said(*lines, body=b"abcdefghi")[:-6],)) for lines in LINES),
    Reply((said(FRESH, body=b"abcdefghi")[:-9],)),
    Reply((b"HTTP/1.1 200 OK\r\nCache-Control: max-a",)),
    Reply((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",)),
)
"""What origins stop behind."""
RESTS = (
    *(b"defghi", b"defghi", b"defghi", b"def", b"d", b"defghiX"),
    *(b"ge=60\r\nContent-Length: 2\r\n\r\nok", b"6\r\ndefghi\r\n0\r\n\r\n", b"0\r\n\r\n"),
    *WHOLE,
)
ORIGINS: tuple[dict[str, Any], ...] = (
    *({}, {}, {}, {"max_connections": 1}, {"max_connections": 2, "queue_length": 1}),
    *({"keep_alive_connections": 1}, {"retry_share": 0.0}, {"host": "inner"}),
)
CACHING = (
    *(CachingOptions(), CachingOptions(), CachingOptions(pass_memory_s=1.0)),
    *(CachingOptions(coalesce_wait_s=0.0), CachingOptions(coalesce_wait_s=None)),
)
WARM = [b"/warm%d" % number for number in range(7)]
ALONE = (b"Authorization: Basic x", b"Cache-Control: no-cache", b"X-Device: phone", b"Range: bytes=0-1")


@dataclass(frozen=True)
class Making:
    """How both sides are made."""

    origin: int
    caching: int
    memory_mib: int
    is_tcp: bool


@dataclass(frozen=True)
class Ruling:
    """Other rules come into force; connections stay."""

    policy: int
    connects: bool


@dataclass(frozen=True)
class Holding:
    """The client asks, and a head that waits for its end is left waiting."""

    data: bytes


@dataclass(frozen=True)
class Beside:
    """A client of the second worker asks."""

    data: bytes
    is_new: bool


@dataclass(frozen=True)
class Going:
    """An origin goes on, on the connection that was asked so many before the last."""

    data: bytes
    end: End
    before: int


@dataclass(frozen=True)
class Turning:
    """From now on an earlier client asks."""

    before: int


def asked(target: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    """Return a request."""
    return b"%b %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (method, target, b"".join(line + b"\r\n" for line in lines))


ends = st.sampled_from((End.KEEP,) * 6 + (End.CLOSE, End.RESET))
simple = st.builds(
    lambda target, method, lines: asked(target, *lines, method=method),
    st.sampled_from(TARGETS),
    st.sampled_from((b"GET", b"GET", b"GET", b"HEAD")),
    st.lists(st.sampled_from(PLAIN), max_size=1),
)
alone = st.builds(asked, st.sampled_from(TARGETS), st.sampled_from(ALONE))
wholes = st.sampled_from([Reply((data,)) for data in WHOLE] + [Reply(pieces) for pieces in PIECES])
answers = wholes | wholes | replies()
parts = st.sampled_from(PARTS)
sayings = st.builds(
    Saying,
    st.sampled_from(TARGETS),
    st.tuples(parts, answers) | st.tuples(answers, parts, answers) | st.tuples(answers) | st.tuples(answers, answers),
)
goings = st.builds(
    Going,
    st.sampled_from(RESTS) | replies().map(lambda reply: b"".join(reply.pieces)),
    ends,
    st.sampled_from((0, 0, 0, 1, 2)),
)
passings = st.builds(Passing, st.sampled_from((0.01, 0.021, 0.15, 0.9, 3.0, 16.0, 130.0)))
policies = st.sampled_from((0, 1, 1, 1, 2, 3, 5, 6, 8)) | st.integers(0, len(POLICIES) - 1)
rulings = st.builds(Ruling, policies, st.booleans())
events = sayings | sayings | goings | goings | goings | purges | passings | st.builds(Turning, st.integers(0, 3))
events |= doings.filter(lambda doing: doing.what != "other") | st.just(Doing("connect"))
makings = st.builds(
    Making,
    st.integers(0, len(ORIGINS) - 1),
    st.integers(0, len(CACHING) - 1),
    st.sampled_from((16, 16, 10)),
    st.sampled_from((False,) * 5 + (True,)),
)


@st.composite
def lives(draw: st.DrawFn) -> list[Any]:
    """Draw a life: both workers learn how misses are fetched, and then a few requests are asked again and again."""
    usual = draw(st.lists(simple | simple | good, min_size=1, max_size=4))
    again = st.sampled_from(usual)
    asking = st.builds(lambda data, times: Asking((data,), times), again, st.integers(1, 4))
    asking |= st.builds(Holding, again) | st.builds(Holding, again) | plainly | oddly
    asking |= st.builds(Beside, again | again | simple | alone, st.booleans())
    rest = st.lists(asking | events | events, min_size=6, max_size=24)
    fields = usual[0].partition(b"\r\n")[2]
    warming = [b"GET " + target + b" HTTP/1.1\r\n" + fields for target in WARM]
    warm = [*(Asking((data,), 1) for data in warming[:3]), *(Beside(data, is_new=False) for data in warming[3:])]
    first = [Saying(target, (Reply((WHOLE[0],)),)) for target in WARM]
    first += [Saying(target, (draw(answers),)) for target in dict.fromkeys(TARGETS)]
    return [draw(makings), draw(rulings), *first, *warm, *draw(rest), draw(rulings), *draw(rest)]


class Crew(RelayPair):
    """Two workers on each side; those of one have relays."""

    def __init__(self, making: Making) -> None:
        options = {"limits": LIMITS, "policies": POLICIES[0], "caching": CACHING[making.caching]}
        super().__init__(lambda: options, making.memory_mib << 20, making.is_tcp, **ORIGINS[making.origin])
        self.is_ordered = False
        self._asking: list[Client] = []

    async def start(self) -> Crew:
        """Let the second workers come."""
        await super().start()
        self._second = Worker.of(self.beside()[1])
        return self

    @property
    def _others(self) -> list[Scene]:
        return [scene for side in self.sides for scene in side.beside]

    @property
    def carried(self) -> int:
        """By both workers."""
        return super().carried + self._second.carried

    @property
    def is_holding(self) -> bool:
        """In either worker."""
        return super().is_holding or any(map(is_held, self._others[1].every_client))

    @property
    def has_broken_off(self) -> bool:
        """In either worker."""
        return super().has_broken_off or self._second.relays.ways["broken off"] > 0

    def ask_beside(self, data: bytes, is_new: bool) -> None:
        """Let a client of each second worker ask."""
        if is_new or not self._asking or not all(client.is_open for client in self._asking):
            self._asking = [scene.client() for scene in self._others]
        for client in self._asking:
            client.send(data)

    def rule(self, policies: Sites, limits: Limits | None = None) -> None:
        """In both workers."""
        super().rule(policies, limits)
        for scene in self._others:
            service = scene.service = scene.clients.service = replace(scene.service, policies=policies)
            if service.hot is not None and service.relays is not None:
                service.hot.use(service)
                service.relays.use(service)

    def compare(self) -> None:
        """Clients of the second workers got the same too."""
        super().compare()
        if not self.is_holding and not self.has_broken_off:
            got = [sorted(self._undated(client.received) for client in scene.every_client) for scene in self._others]
            same("beside", got[1], got[0])

    async def end(self) -> None:
        """Those who wait for a place would wait for ever."""
        for scene in self._others:
            for client in scene.every_client:
                client.transport.lose()
        await super().end()


TALLY: Counter[str] = Counter()


async def play(life: list[Any]) -> None:
    """Live a life twice, with relays and without."""
    crew = await Crew(life[0]).start()
    for step in life[1:]:
        if not all(side.client.is_open for side in crew.sides):
            crew.connect()
        await take(crew, step)
        if crew.has_broken_off:
            break
    await release(crew)
    TALLY["carried"] += crew.carried
    TALLY["requests"] += sum(scene.count("requests") for scene in (crew.plain.scene, *crew.plain.beside))
    await crew.end()


async def take(crew: Crew, step: Any) -> None:
    """Take one step on both sides."""
    match step:
        case Ruling():
            crew.rule(POLICIES[step.policy])
            if step.connects:
                crew.connect()
        case Asking():
            for _ in range(step.times):
                await crew.send(*step.data)
                await release(crew)
        case Holding():
            await crew.send(step.data)
        case Beside():
            crew.ask_beside(step.data, step.is_new)
            await crew.each(lambda side: None)
        case Going():
            if step.end is not End.KEEP:
                await release(crew)
            await crew.each(lambda side: go_on(side, step))
        case Saying():
            crew.answers({step.target: step.replies})
        case Passing():
            await crew.after(step.seconds)
        case Purge():
            await crew.purge(step)
        case Turning():
            for side in crew.sides:
                side.client = side.clients[-1 - step.before % len(side.clients)]
        case Doing():
            if step.what != "connect":
                await release(crew)
            await do(crew, step.what)


def go_on(side: Side, step: Going) -> None:
    """Let an origin say more."""
    asked = sorted(side.origin.connections, key=lambda each: -each.asked_at)
    if step.before < len(asked) and asked[step.before].asked_at >= 0:
        asked[step.before].send(step.data, end=step.end)


@given(lives())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def _lives_are_the_same(life: list[Any]) -> None:
    run_uncollected(play(life))


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_whatever_happens_in_the_middle_clients_and_origins_get_the_same() -> None:
    TALLY.clear()

    _lives_are_the_same()

    assert TALLY["carried"] > TALLY["requests"] * 0.01, TALLY
