"""What happens in the middle of a relay ends as it does on the general path: two workers told the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hot_pair import sites
from piecewise_origin import STALLED, End, Reply, said
from relay_pair import RelayPair, relayed_exchange

PASSED = sites('request { when path under "/api" { pass "api" } }')
OTHERWISE = sites('request { when path under "/api" { synth 410 "gone" } }')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"


def request(*lines: bytes, target: bytes = b"/api", method: bytes = b"GET", host: bytes = b"example.org") -> bytes:
    """Return one request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


async def warmed(pair: RelayPair) -> RelayPair:
    """Return a pair that relays what is asked under /api, with a client of each that has been answered."""
    await pair.start()
    pair.answers({b"/api": Reply((said(body=b"hello"),))})
    for _ in range(6):
        if await relayed_exchange(pair, request()):
            return pair
    raise AssertionError(f"it was never relayed: {pair.ways}")


@pytest.fixture
async def pair() -> AsyncIterator[RelayPair]:
    """Return a pair that relays, over unix sockets."""
    made = await warmed(RelayPair(lambda: {"policies": PASSED}))
    yield made
    await made.end()


@pytest.fixture
async def over_tcp() -> AsyncIterator[RelayPair]:
    """Return a pair that relays, over TCP."""
    made = await warmed(RelayPair(lambda: {"policies": PASSED}, is_tcp=True))
    yield made
    await made.end()


async def begin(pair: RelayPair, *pieces: bytes) -> None:
    """Let a relay begin, of which the origin sends some pieces and then nothing."""
    before = pair.taken
    pair.answers({b"/api": (Reply(pieces), Reply((said(body=b"hello"),)))})
    await pair.send(request())
    assert pair.taken == before + 1


async def goes_on(pair: RelayPair) -> None:
    """Show that requests are relayed as before, on whatever connections are left."""
    pair.answers({b"/api": Reply((said(body=b"hello"),))})
    if not pair.plain.client.is_open or pair.plain.client.transport.is_closing():
        pair.connect()
    for _ in range(3):
        await pair.send(request())
    assert await relayed_exchange(pair, request())


STAGES = [(), (HEAD,), (HEAD + b"abc",), (HEAD + b"abc", b"d"), (b"HTTP/1.1 2",)]
at_each_stage = pytest.mark.parametrize("pieces", STAGES, ids=["asked", "head", "body", "more", "half a head"])


@at_each_stage
async def test_a_client_leaves(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    await begin(pair, *pieces)

    await pair.each(lambda side: side.client.transport.lose())

    await goes_on(pair)


@at_each_stage
async def test_a_client_leaves_in_the_turn_in_which_it_asked(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    """The general path had not begun to ask the origin yet; what the client is told and what is left is the same."""
    pair.answers({b"/api": Reply(pieces)})
    for side in pair.sides:
        side.client.send(request())
        side.client.transport.lose_at_once()
    await pair.settle()

    for side in pair.sides:
        assert side.records()[-1][6:11] == (0, 0, 0.0, "pass", "")
        assert side.scene.count("client_aborts") == 1
        assert side.board.flights == [0]
        side.origin.heads.clear()
        side.origin.cut()
    await pair.settle()
    pair.forgive("fetches", "fetch_reuses", "origin_bytes_out", "origin_bytes_in")
    await goes_on(pair)


@at_each_stage
async def test_a_client_ends_its_side(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    await begin(pair, *pieces)

    await pair.each(lambda side: side.client.transport.receive_eof())
    if any(side.origin.connections for side in pair.sides):
        await pair.each(lambda side: side.origin.cut())

    await goes_on(pair)


@at_each_stage
@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_an_origin_closes(over_tcp: RelayPair, pieces: tuple[bytes, ...], end: End) -> None:
    pair = over_tcp
    await begin(pair, *pieces)

    await pair.each(lambda side: side.origin.last.send(end=end))

    await goes_on(pair)


@at_each_stage
async def test_an_origin_stalls(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    await begin(pair, *pieces)

    await pair.after(14)
    await pair.after(2)

    await goes_on(pair)


@at_each_stage
async def test_an_origin_is_slow(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    await begin(pair, *pieces)

    for at in range(len(rest)):
        await pair.after(0.2)
        await pair.each(lambda side, at=at: side.origin.last.send(rest[at : at + 1]))  # type: ignore[misc]

    assert pair.plain.client.answers[-1].body == b"abcdef"
    await goes_on(pair)


@at_each_stage
async def test_a_fetch_takes_too_long_as_a_whole(pieces: tuple[bytes, ...]) -> None:
    from accel.config import OriginTimeouts

    timeouts = OriginTimeouts(connect_s=5.0, first_byte_s=15.0, between_bytes_s=15.0, whole_s=3.0)
    pair = await warmed(RelayPair(lambda: {"policies": PASSED}, timeouts=timeouts))
    await begin(pair, *pieces)

    for _ in range(5):
        await pair.after(0.9)

    await goes_on(pair)
    await pair.end()


@at_each_stage
async def test_another_request_waits_behind(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    await begin(pair, *pieces)

    await pair.send(request())
    await pair.send(request(method=b"HEAD"), request()[:20])
    await pair.each(lambda side: side.origin.last.send(rest))
    await pair.send(request()[20:])

    assert len(pair.plain.client.received.split(b"HTTP/1.1 200 OK\r\n")) > 5
    await goes_on(pair)


@at_each_stage
async def test_nonsense_waits_behind(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    await begin(pair, *pieces)

    await pair.send(b"nonsense\r\n\r\n")
    await pair.each(lambda side: side.origin.last.send(rest))

    await goes_on(pair)


@at_each_stage
async def test_a_worker_begins_to_stop(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    await begin(pair, *pieces)

    pair.stop()
    await pair.each(lambda side: side.origin.last.send(rest))

    before = pair.taken
    pair.connect()
    await pair.send(request())
    assert pair.taken == before


@at_each_stage
async def test_other_rules_are_for_what_begins_later(pair: RelayPair, pieces: tuple[bytes, ...]) -> None:
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    await begin(pair, *pieces)

    pair.rule(OTHERWISE)
    await pair.each(lambda side: side.origin.last.send(rest))

    assert pair.plain.client.answers[-1].status == 200
    for _ in range(4):
        await pair.send(request())
        assert pair.plain.client.answers[-1].status == 410


@pytest.mark.parametrize("pieces", [(), (HEAD,)])
async def test_what_began_under_other_rules_teaches_nothing(pieces: tuple[bytes, ...]) -> None:
    pair = await RelayPair(lambda: {"policies": PASSED}).start()
    rest = (HEAD + b"abcdef")[len(b"".join(pieces)) :]
    pair.answers({b"/api": Reply((said(body=b"hello"),))})
    await pair.send(request())
    pair.answers({b"/api": Reply(pieces)})
    await pair.send(request())

    pair.rule(OTHERWISE)
    await pair.each(lambda side: side.origin.last.send(rest))

    for _ in range(4):
        await pair.send(request())
        assert pair.plain.client.answers[-1].status == 410
    await pair.end()


async def test_a_host_learned_under_other_rules_is_forgotten() -> None:
    """Its fields that matter would be those of the rules that were in force before."""
    pair = await RelayPair(lambda: {"policies": PASSED}).start()
    await pair.send(request())

    pair.rule(sites('request { when header.x-device == "phone" { pass "phone" } }'))
    await pair.each(lambda side: side.origin.last.send(HEAD + b"abcdef"))

    pair.answers({b"/": Reply((said(b"Cache-Control: max-age=60", body=b"page"),))})
    for lines in [(), (b"X-Device: phone",)] * 5:
        await pair.send(request(*lines, target=b"/"))
    await pair.end()


async def test_fields_that_come_to_matter_make_no_other_request_the_same() -> None:
    """What is told apart by one field must not be taken for what is told apart by another."""
    pair = await RelayPair(
        lambda: {"policies": sites('request { when header.x-device == "phone" { pass "phone" } }')}
    ).start()
    fresh = b"Cache-Control: max-age=60"
    pair.answers({b"/": Reply((said(fresh, body=b"page"),)), b"/l": Reply((said(fresh, b"Vary: Accept-Language"),))})
    for _ in range(4):
        await pair.send(request(b"X-Device: phone", target=b"/"))
    for _ in range(4):
        await pair.send(request(target=b"/l"))

    for name in (b"If-None-Match", b"If-Modified-Since", b"Accept-Language", b"X-Device"):
        await pair.send(request(name + b": phone", target=b"/"))
    await pair.end()


async def test_an_idle_connection_that_closes_just_then_is_followed_by_one_retry(pair: RelayPair) -> None:
    pair.answers({b"/api": (Reply((), End.CLOSE), Reply((said(body=b"again"),)))})

    await pair.send(request())

    assert pair.plain.client.answers[-1].body == b"again"
    assert pair.ways["failed"] == 1
    assert pair.relaying.scene.count("fetch_retries") == 1
    await goes_on(pair)


async def test_an_origin_that_always_closes_is_asked_twice(pair: RelayPair) -> None:
    pair.answers({b"/api": Reply((), End.CLOSE)})

    for _ in range(20):
        await pair.send(request())

    await goes_on(pair)


async def test_idle_connections_that_were_closed_are_not_used(pair: RelayPair) -> None:
    await pair.each(lambda side: side.origin.cut())

    await pair.send(request())

    assert pair.ways["connected anew"] > 0
    await goes_on(pair)


async def test_an_origin_that_is_gone(pair: RelayPair) -> None:
    for side in pair.sides:
        await side.origin.stop()
    await pair.settle()

    for _ in range(3):
        await pair.send(request())


async def test_what_an_origin_says_unasked_closes_its_connection(pair: RelayPair) -> None:
    await pair.each(lambda side: side.origin.last.send(said(body=b"unasked")))

    await goes_on(pair)


async def test_a_backend_that_is_down_is_not_asked(pair: RelayPair) -> None:
    for side in pair.sides:
        side.board.available = [False]

    await pair.send(request())
    await pair.after(3)

    for side in pair.sides:
        side.board.available = [True]
    await goes_on(pair)


async def test_a_place_that_is_taken_is_waited_for() -> None:
    pair = await warmed(RelayPair(lambda: {"policies": PASSED}, max_connections=1))
    await begin(pair)
    pair.connect()
    await pair.send(request())

    await pair.each(lambda side: side.origin.last.send(HEAD + b"abcdef"))

    assert pair.plain.client.answers[-1].body == b"hello"
    await goes_on(pair)
    await pair.end()


async def test_two_at_once_have_a_connection_each(pair: RelayPair) -> None:
    await begin(pair, HEAD + b"abc")
    pair.connect()
    pair.answers({b"/api": Reply((said(body=b"second"),))})
    await pair.send(request())

    await pair.each(lambda side: side.origin.connections[0].send(b"def"))

    assert len(pair.plain.origin.connections) == 2
    await goes_on(pair)


@pytest.mark.parametrize("peers", [("", "10.0.0.1"), ("10.0.0.1", ""), ("10.0.0.1", "10.0.0.2")])
async def test_the_origin_is_told_of_each_client_its_own_address(peers: tuple[str, str]) -> None:
    pair = await RelayPair(lambda: {"policies": PASSED}).start()
    pair.answers({b"/api": Reply((said(body=b"hello"),))})
    for peer in (peers[0],) * 4 + (peers[1],) * 4:
        pair.connect(peer)
        await pair.send(request())
    await pair.end()


async def test_a_client_that_reads_nothing_does_not_hold_the_next_one_up(pair: RelayPair) -> None:
    for side in pair.sides:
        side.client.transport.stick()
    pair.answers({b"/api": Reply((said(body=b"w" * 65536),))})
    pair.relaying.client.send(request())
    pair.plain.client.send(request())
    await pair.settle()
    for side in pair.sides:
        side.client.transport.drain()
    await pair.settle()
    pair.compare()

    pair.connect()
    await goes_on(pair)


async def test_a_client_that_reads_slowly_gets_all(pair: RelayPair) -> None:
    pair.answers({b"/api": Reply((said(body=b"w" * 60000),))})
    for side in pair.sides:
        side.client.transport.stick()
        for _ in range(3):
            side.client.send(request())
    await pair.settle()
    for _ in range(50):
        for side in pair.sides:
            side.client.transport.drain(10_000)
        await pair.settle()
    for side in pair.sides:
        side.client.transport.drain()
    await pair.settle()
    pair.compare()
    await goes_on(pair)


async def test_heads_that_are_answered_early_close_no_connection(pair: RelayPair) -> None:
    """A response that came before its request is stray, and nobody takes it for the next one's."""
    pair.answers({b"/api": Reply((said(body=b"one") + said(body=b"two"),))})

    for _ in range(3):
        await pair.send(request())

    await goes_on(pair)


async def test_stalled_relays_end_with_the_scene(pair: RelayPair) -> None:
    pair.answers({b"/api": STALLED})
    await pair.send(request())
    pair.connect()
    await pair.send(request())


EDITING = {
    "cookies": ('cookies drop "_*"', (b"Cookie: a=1; _ga=2",)),
    "kept cookies": ("cookies keep session", (b"Cookie: a=1; session=2",)),
    "no cookies": ("cookies keep none", (b"Cookie: a=1; session=2",)),
    "unset": ('unset header "X-Device"', (b"X-Device: phone",)),
    "set": ('set header "X-Device" "desk"', (b"X-Device: phone",)),
    "when": ('when header.x-device exists { unset header "X-Device" }', (b"X-Device: phone",)),
    "host": ('host canonical "example.org"', (b"X-Device: phone",)),
    "query": ("query drop a", (b"X-Device: phone",)),
    "key": ("key + header.x-device", (b"X-Device: phone",)),
    "seal": ("seal", (b"Cookie: a=1", b"X-Device: phone")),
    "limit": ('limit 2/s per client burst 2 else synth 429 "slow"', ()),
}


@pytest.mark.parametrize("verdict", ['when path under "/api" { pass "api" }', ""])
@pytest.mark.parametrize(("statement", "lines"), EDITING.values(), ids=list(EDITING))
async def test_what_rules_take_from_requests_is_taken_from_each(
    statement: str, lines: tuple[bytes, ...], verdict: str
) -> None:
    """The first ones have nothing that an edit would be about."""
    pair = await RelayPair(lambda: {"policies": sites(f"request {{ {statement}\n{verdict} }}")}).start()
    for control in (b"no-store", b"max-age=60"):
        for number in range(3):
            target = b"/api/%b%d" % (control[:2], number)
            pair.answers({target: Reply((said(b"Cache-Control: " + control, body=b"hello"),))})
            for _ in range(3):
                await pair.send(request(target=target))
            await pair.send(request(*lines, target=target))
        await pair.send(request(*lines, target=b"/api/%b1" % control[:2]))
    await pair.end()


async def test_what_relays_learned_is_not_for_other_hosts(pair: RelayPair) -> None:
    for host in (b"example.org", b"EXAMPLE.org", b"example.org.", b"example.org:80", b"other", b"other:81", b"") * 4:
        await pair.send(request(host=host))
    assert pair.carried > 10
