"""A relayed miss is stored and answered as on the general path: two workers told the same, one of them with relays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hot_pair import sites
from piecewise_origin import STALLED, End, Reply, said
from relay_pair import RelayPair, relayed_exchange
from wire_scene import NOW, Client

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import CachingOptions
from accel.http.fields import format_date

FRESH = b"Cache-Control: max-age=60"
HOST = b"example.org"
LOOKUPS = sites("request { }")


def request(*lines: bytes, target: bytes = b"/", method: bytes = b"GET", host: bytes = HOST) -> bytes:
    """Return one request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


async def warmed(**options: Any) -> RelayPair:
    """Return a pair that relays misses."""
    pair = await RelayPair(lambda: options).start()
    for number in range(8):
        target = b"/warm%d" % number
        pair.answers({target: Reply((said(FRESH, body=b"warm"),))})
        if await relayed_exchange(pair, request(target=target)):
            return pair
    raise AssertionError(f"none was ever relayed: {pair.ways}")


@pytest.fixture
async def pair() -> AsyncIterator[RelayPair]:
    """Return a pair that relays misses."""
    made = await warmed()
    yield made
    await made.end()


async def begin(pair: RelayPair, *pieces: bytes, target: bytes = b"/") -> None:
    """Let a relayed miss begin, of which the origin sends some pieces and then nothing; later ones are answered."""
    before = pair.taken
    pair.answers({target: (Reply(pieces), Reply((said(FRESH, body=b"later"),)))})
    await pair.send(request(target=target))
    assert pair.taken == before + 1


async def finish(pair: RelayPair, rest: bytes) -> None:
    """Let the origins say the rest, and look at the page twice again, a while later too."""
    await pair.each(lambda side: side.origin.last.send(rest))
    await looked_at(pair)


async def looked_at(pair: RelayPair, target: bytes = b"/", *lines: bytes) -> None:
    """Ask some more for a page, also by the other worker, and when time has passed."""
    for _ in range(2):
        if not pair.plain.client.is_open or pair.plain.client.transport.is_closing():
            pair.connect()
        await pair.send(request(*lines, target=target))
        await pair.after(1.25)
    others = [scene.client() for scene in pair.beside()]
    for client in others:
        client.send(request(*lines, target=target))
    await pair.settle()
    assert others[0].received == others[1].received


async def test_a_relayed_miss_is_a_hit_next(pair: RelayPair) -> None:
    pair.answers({b"/": Reply((said(FRESH, body=b"page"),))})

    assert await relayed_exchange(pair, request())
    await looked_at(pair)

    assert pair.plain.client.answers[-1]["cache-status"].startswith("accel; hit; ttl=58")
    assert pair.plain.origin.heads[-1].startswith(b"GET / ")


PAST, FUTURE = format_date(NOW - 30), format_date(NOW + 30)
KINDS = {
    "max-age": (FRESH,),
    "s-maxage": (b"Cache-Control: s-maxage=9, max-age=60",),
    "cdn": (b"CDN-Cache-Control: max-age=20", b"Cache-Control: no-store"),
    "targeted, unreadable": (b"CDN-Cache-Control: max-age=x=y, \x22", FRESH),
    "zero": (b"Cache-Control: max-age=0",),
    "zero and a validator": (b"Cache-Control: max-age=0", b'ETag: "1"'),
    "unreadable": (b"Cache-Control: max-age=x",),
    "twice": (b"Cache-Control: max-age=5", b"Cache-Control: max-age=7"),
    "two lines": (b"Cache-Control: public", b"cache-control: max-age=7"),
    "huge": (b"Cache-Control: max-age=99999999999999999999",),
    "grace": (b"Cache-Control: max-age=1, stale-while-revalidate=30, stale-if-error=60",),
    "must-revalidate": (b"Cache-Control: max-age=1, must-revalidate",),
    "immutable": (b"Cache-Control: max-age=60, immutable",),
    "no-cache": (b"Cache-Control: no-cache",),
    "no-cache and a validator": (b"Cache-Control: no-cache, max-age=60", b'ETag: "1"'),
    "no-cache without": (b"Cache-Control: no-cache, max-age=60",),
    "no-cache of a field": (b'Cache-Control: max-age=60, no-cache="x-mine"', b"X-Mine: 1"),
    "private": (b"Cache-Control: private, max-age=60",),
    "private field": (b'Cache-Control: max-age=60, private="x-mine"', b"X-Mine: 1"),
    "no-store": (b"Cache-Control: no-store",),
    "must-understand": (b"Cache-Control: max-age=60, no-store, must-understand",),
    "nothing": (),
    "heuristic": (b"Last-Modified: " + format_date(NOW - 864000),),
    "pragma": (b"Pragma: no-cache", FRESH),
    "expires": (b"Expires: " + FUTURE,),
    "expires and max-age": (b"Expires: " + PAST, FRESH),
    "expired": (b"Expires: 0",),
    "date": (FRESH, b"Date: " + format_date(NOW)),
    "past": (FRESH, b"Date: " + PAST),
    "long past": (FRESH, b"Date: " + format_date(NOW - 3600)),
    "future": (FRESH, b"Date: " + FUTURE),
    "odd date": (FRESH, b"Date: Tuesday, 14-Nov-23 22:13:10 GMT"),
    "asctime": (FRESH, b"Date: Tue Nov 14 22:13:10 2023"),
    "bad date": (FRESH, b"Date: never"),
    "empty date": (FRESH, b"Date:"),
    "age": (FRESH, b"Age: 7"),
    "vary": (FRESH, b"Vary: Accept-Language"),
    "vary star": (FRESH, b"Vary: *"),
    "cookie": (FRESH, b"Set-Cookie: a=1"),
    "tags": (FRESH, b"Surrogate-Key: a b"),
    "other tags": (FRESH, b"Cache-Tag: a, b", b"xkey: c"),
    "validators": (FRESH, b'ETag: W/"1"', b"Last-Modified: " + PAST),
    "bad validators": (b"Cache-Control: max-age=0", b"ETag: 1", b"Last-Modified: then"),
    "content": (FRESH, b"Content-Type: text/html", b"Content-Encoding: gzip", b"Content-MD5: x", b"dnt: 1"),
    "range": (FRESH, b"Content-Range: bytes 0-1/9"),
    "hop by hop": (FRESH, b"Connection: close", b"Keep-Alive: timeout=5", b"Proxy-Authenticate: x"),
    "named option": (FRESH, b"Connection: x-mine", b"X-Mine: 1"),
    "statuses": (FRESH, b"Cache-Status: other; hit", b"Via: 1.0 other", b"Warning: 110 - stale"),
    "odd values": (FRESH, b"X:", b"Y: \xff", b"Z: \t a  b \t", b"x_y: 1"),
    "many": (FRESH, *(b"X-%d: 1" % number for number in range(61))),
    "63": (FRESH, *(b"X-%d: 1" % number for number in range(62))),
    "more": (FRESH, *(b"X-%d: 1" % number for number in range(63))),
    "authenticate": (FRESH, b"WWW-Authenticate: x"),
}


OWN = CachingOptions(heuristic=True, max_body_bytes=100)


@pytest.mark.parametrize("caching", [CachingOptions(), OWN], ids=["", "own"])
@pytest.mark.parametrize("lines", KINDS.values(), ids=list(KINDS))
async def test_it_is_stored_as_the_general_path_stores_it(lines: tuple[bytes, ...], caching: CachingOptions) -> None:
    pair = await warmed(caching=caching)
    statuses = (b"200 OK", b"404 Not  Found", b"500 Oh", b"206 Partial Content", b"302 ", b"418 I'm a teapot")
    bodies = (b"page", b"", b"p" * 101, b"p" * 100, b"", b"x")
    for number, (status, body) in enumerate(zip(statuses, bodies, strict=True)):
        target = b"/%d" % number
        pair.answers({target: Reply((said(*lines, body=body, status=status),))})
        await pair.send(request(target=target))
        await pair.send(request(target=target))
    await pair.after(0.5)
    await looked_at(pair, b"/0")
    await pair.end()


async def test_what_was_stored_for_its_validator_teaches_nothing_about_what_has_none(pair: RelayPair) -> None:
    for control in (b"no-cache, max-age=60", b"max-age=0", b"max-age=0, stale-if-error=60", b"no-cache"):
        for number, lines in enumerate([(b'ETag: "1"',), (), (b"Last-Modified: " + PAST,), (b"ETag: 1",)] * 2):
            target = b"/%b%d" % (control[:9].replace(b" ", b""), number)
            pair.answers({target: Reply((said(b"Cache-Control: " + control, *lines, body=b"page"),))})
            await pair.send(request(target=target))
            await pair.send(request(target=target))


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 60_000])
async def test_what_the_store_has_no_room_for_is_passed_on(size: int) -> None:
    pair = await warmed(max_body_bytes=1000)
    pair.answers({b"/": Reply((said(FRESH, body=b"x" * size),))})
    await pair.send(request())
    await looked_at(pair)
    await pair.end()


async def test_a_small_store_makes_room_for_what_is_relayed() -> None:
    pair = await RelayPair(dict, memory_bytes=10 << 20).start()
    for number in range(300):
        target = b"/%d" % number
        pair.answers({target: Reply((said(FRESH, body=b"x" * 60_000),))})
        await pair.send(request(target=target))
    await pair.end()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
TAGGED = said(FRESH, b"Surrogate-Key: a", body=b"tagged")
PAGE = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nabcdef"
STAGES = [0, 20, len(PAGE) - 6, len(PAGE) - 3]
STAGE_NAMES = ["asked", "half a head", "head", "body"]
at_each_stage = pytest.mark.parametrize("stage", STAGES, ids=STAGE_NAMES)


UNHELD = [(0, 0.0), (20, 0.0), (0, 0.03), (20, 0.03), (STAGES[2], 0.03), (STAGES[3], 0.03)]
"""A stage, and how long it lasts: a head does not wait longer for its end."""


def pieces_of(stage: int) -> tuple[bytes, ...]:
    """Return what has come at a stage."""
    return (PAGE[:stage],) if stage else ()


@at_each_stage
async def test_the_rest_comes(pair: RelayPair, stage: int) -> None:
    await begin(pair, *pieces_of(stage))

    await finish(pair, PAGE[stage:])


@at_each_stage
@pytest.mark.parametrize("seconds", [0.03, 3.0])
async def test_the_rest_comes_late(pair: RelayPair, stage: int, seconds: float) -> None:
    """A head that waits for its end does so for less than that."""
    await begin(pair, *pieces_of(stage))
    await pair.after(0.03)
    await pair.after(seconds)

    for at in range(stage, len(PAGE)):
        await pair.each(lambda side, at=at: side.origin.last.send(PAGE[at : at + 1]))  # type: ignore[misc]
    await looked_at(pair)


@pytest.mark.parametrize(("stage", "seconds"), UNHELD)
async def test_the_origin_closes(pair: RelayPair, stage: int, seconds: float) -> None:
    await begin(pair, *pieces_of(stage))
    await pair.after(seconds)

    await pair.each(lambda side: side.origin.last.send(end=End.CLOSE))

    await looked_at(pair)


@at_each_stage
async def test_the_origin_stalls(pair: RelayPair, stage: int) -> None:
    await begin(pair, *pieces_of(stage))

    for seconds in (0.03, 14, 2):
        await pair.after(seconds)

    await looked_at(pair)


@pytest.mark.parametrize(("stage", "seconds"), UNHELD)
async def test_the_client_leaves(pair: RelayPair, stage: int, seconds: float) -> None:
    await begin(pair, *pieces_of(stage))
    await pair.after(seconds)

    await pair.each(lambda side: side.client.transport.lose())
    if pair.plain.origin.connections and stage > 20:
        await pair.each(lambda side: side.origin.last.send(PAGE[stage:]))

    await looked_at(pair)


@at_each_stage
@pytest.mark.parametrize("count", [1, 50])
@pytest.mark.parametrize("way", ["answered", "first leaves", "all leave", "fails", "slow"])
async def test_many_want_the_same(pair: RelayPair, stage: int, count: int, way: str) -> None:
    before = len(pair.plain.origin.heads)
    pair.is_ordered = False
    await begin(pair, *pieces_of(stage))
    firsts = [side.client for side in pair.sides]
    for _ in range(count):
        pair.connect()
        for side in pair.sides:
            side.client.send(request())
    await pair.settle()

    match way:
        case "first leaves":
            for client in firsts:
                client.transport.lose()
        case "all leave":
            await pair.each(lambda side: [client.transport.lose() for client in side.clients])
        case "fails":
            await pair.each(lambda side: side.origin.last.send(end=End.CLOSE))
        case "slow":
            await pair.after(0.03)
            await pair.after(1)
    if way != "fails" and pair.plain.origin.connections:
        await pair.each(lambda side: side.origin.last.send(PAGE[stage:]))

    await looked_at(pair)
    if way in ("answered", "first leaves"):
        assert len(pair.plain.origin.heads) == before + 1
        assert all(client.received.endswith(b"abcdef") for client in pair.relaying.clients[-count:-1])


@at_each_stage
async def test_another_worker_wants_the_same(pair: RelayPair, stage: int) -> None:
    await begin(pair, *pieces_of(stage))
    others: list[Client] = []
    for scene in pair.beside():
        others.append(scene.client())
        others[-1].send(request())
    await pair.settle()

    await pair.each(lambda side: side.origin.last.send(PAGE[stage:]))

    assert others[0].received == others[1].received
    assert others[0].received.endswith(b"abcdef")
    assert len(pair.relaying.origin.heads) == len(pair.plain.origin.heads)


async def test_what_another_worker_fetches_is_not_relayed(pair: RelayPair) -> None:
    pair.answers({b"/": STALLED})
    others = []
    for scene in pair.beside():
        others.append(scene.client())
        others[-1].send(request())
    await pair.settle()
    before = pair.taken

    await pair.send(request())
    await pair.each(lambda side: side.origin.last.send(PAGE))

    assert pair.taken == before
    assert pair.plain.client.received.endswith(b"abcdef")
    assert others[0].received == others[1].received


async def test_what_another_worker_stored_is_a_hit(pair: RelayPair) -> None:
    pair.answers({b"/": Reply((PAGE,))})
    for scene in pair.beside():
        scene.client().send(request())
    await pair.settle()
    before = pair.taken

    await pair.send(request())

    assert pair.taken == before
    assert b"accel; hit" in pair.plain.client.received


PURGES = {
    "url": Purge(What.URL, (primary_key(HOST, b"/"),)),
    "soft": Purge(What.URL, (primary_key(HOST, b"/"),), True),
    "tag": Purge(What.TAG, (b"a",)),
    "all": Purge(What.ALL, ()),
    "soft all": Purge(What.ALL, (), True),
    "ban": Purge(What.BAN, (b"url == /",)),
    "other": Purge(What.URL, (primary_key(HOST, b"/other"),)),
}


@at_each_stage
@pytest.mark.parametrize("purge", PURGES.values(), ids=list(PURGES))
async def test_an_invalidation_comes(pair: RelayPair, stage: int, purge: Purge) -> None:
    await begin(pair, *pieces_of(stage))

    await pair.purge(purge)
    await pair.each(lambda side: side.origin.last.send(PAGE[stage:]))

    await looked_at(pair)


@at_each_stage
@pytest.mark.parametrize("purge", PURGES.values(), ids=list(PURGES))
async def test_one_comes_and_somebody_asks_behind_it(pair: RelayPair, stage: int, purge: Purge) -> None:
    pair.is_ordered = False
    await begin(pair, *pieces_of(stage))

    await pair.purge(purge)
    pair.connect()
    await pair.send(request())
    for _ in range(3):
        await pair.each(lambda side: [each.send(PAGE[stage:]) for each in side.origin.connections[:1]])

    await looked_at(pair)


@at_each_stage
async def test_other_rules_come(pair: RelayPair, stage: int) -> None:
    await begin(pair, *pieces_of(stage))

    pair.rule(sites('request { synth 410 "gone" }'))
    await pair.each(lambda side: side.origin.last.send(PAGE[stage:]))
    await pair.send(request(), request(target=b"/more"))
    pair.rule(LOOKUPS)

    await looked_at(pair)


@pytest.mark.parametrize(("stage", "seconds"), UNHELD)
async def test_a_worker_begins_to_stop(pair: RelayPair, stage: int, seconds: float) -> None:
    await begin(pair, *pieces_of(stage))
    await pair.after(seconds)

    pair.stop()

    await finish(pair, PAGE[stage:])


@at_each_stage
async def test_another_request_waits_behind(pair: RelayPair, stage: int) -> None:
    await begin(pair, *pieces_of(stage))

    await pair.send(request())
    await pair.send(request(target=b"/warm0"), request(method=b"HEAD"))

    await finish(pair, PAGE[stage:])


@pytest.mark.parametrize("pieces", [(), (PAGE[:20],)], ids=STAGE_NAMES[:2])
async def test_its_time_is_over_just_as_another_request_joins(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    await begin(pair, *pieces)
    pair.connect()
    for side in pair.sides:
        side.client.send(request())
        side.scene.mono += 15
        side.scene.now += 15
    await pair.settle()
    pair.is_ordered = False  # the new client's answer comes first
    pair.compare()
    assert pair.plain.scene.count("fetch_timeouts") == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("event", ["expires", "stored", *PURGES])
@pytest.mark.parametrize("rest", [b"", CHUNKED, PAGE, TAGGED], ids=["", "chunked", "page", "tagged"])
async def test_a_mark_goes_while_what_rests_on_it_is_relayed(event: str, rest: bytes, method: bytes) -> None:
    """One that was begun is asked once, whatever the next ones find."""
    pair = await warmed()
    pair.answers({b"/": Reply((said(b"Cache-Control: no-store", body=b"own"),))})
    for _ in range(3):
        await pair.send(request(method=method))
        await pair.send(request())
    pair.answers({b"/": (STALLED, Reply((said(FRESH, body=b"later"),)))})
    if event == "expires":
        await pair.after(118)
        pair.connect()
        await pair.send(request(target=b"/warm0"))  # there is a connection
    before, asked = pair.taken, len(pair.plain.origin.heads)
    await pair.send(request(method=method))
    assert pair.taken == before + 1

    match event:
        case "expires":
            await pair.after(8)
        case "stored":
            await pair.purge(PURGES["url"])
            for scene in pair.beside():
                scene.client().send(request())
            await pair.settle()
        case _:
            await pair.purge(PURGES[event])
    if rest:
        await pair.each(lambda side: side.origin.connections[0].send(rest))
    await pair.after(14)
    await pair.after(2)

    assert len(pair.plain.origin.heads) == asked + 1 + (event == "stored")
    if not pair.plain.client.is_open:
        pair.connect()
    await pair.send(request())
    await pair.end()


@pytest.mark.parametrize(
    "lines",
    [
        (b'If-None-Match: "1"',),
        (b"If-Modified-Since: " + PAST,),
        (b"Cache-Control: only-if-cached",),
        (b"Range: bytes=1-2",),
        (b"Authorization: Basic x",),
        (b"Cookie: a=1",),
        (b"Accept-Encoding: gzip",),
        (b"Connection: close",),
        (b"Content-Length: 1\r\n\r\nx",),
        (b"X-Forwarded-For: 1.2.3.4", b"User-Agent: x", b"Referer: y"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_misses_of_odd_requests(pair: RelayPair, lines: tuple[bytes, ...], method: bytes) -> None:
    for number in range(3):
        target = b"/%d" % number
        pair.answers({target: Reply((said(FRESH, b'ETag: "1"', body=b"page"),))})
        await pair.send(request(*lines, target=target, method=method))
        await pair.send(request(target=target))
        await pair.send(request(*lines, target=target, method=method))


@pytest.mark.parametrize("line", [b"Vary: Accept-Language", b"X-Plain: 1"])
async def test_something_is_stored_there_meanwhile(pair: RelayPair, line: bytes) -> None:
    """By another worker, whose request does not wait for what is fetched: a list of variants too is kept."""
    pair.answers({b"/": (STALLED, Reply((said(b"Cache-Control: s-maxage=60", line, body=b"other"),)))})
    before = pair.taken
    await pair.send(request(b"Accept-Language: de"))
    assert pair.taken == before + 1
    for scene in pair.beside():
        scene.client().send(request(b"Authorization: Basic x", b"Accept-Language: it"))
    await pair.settle()
    await pair.each(lambda side: side.origin.connections[0].send(PAGE))

    assert pair.plain.scene.count("stored") > 1
    for language in (b"de", b"it", b"fr", b"de"):
        await pair.send(request(b"Accept-Language: " + language))


async def test_one_that_breaks_off_at_once_is_an_error(pair: RelayPair) -> None:
    """The general path would have sent a part: here alone what clients get differs."""
    pair.answers({b"/": Reply((PAGE[:-2],), End.CLOSE)})
    pair.connect()
    await pair.send(request())

    assert pair.has_broken_off
    assert pair.relaying.clients[-2].received.startswith(b"HTTP/1.1 502 ")
    assert pair.plain.clients[-2].received.endswith(b"\r\n\r\nabcd")
    assert [side.scene.count("fetch_truncated") for side in pair.sides] == [1, 1]
