"""What is replayed is what the general path would have said: two workers told the same, one of them with a hot path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from hot_pair import Pair, assert_unpinned, close_arena, heated, sites, twins
from wire_scene import MakeScene

from accel.caching.invalidation import Purge, What
from accel.caching.key import primary_key
from accel.config import Limits
from accel.proxy.connection import Phase
from accel.stats._ring import RingWriter
from accel.stats.records import records_of
from accel.stats.ring import LEAST_RING_BYTES, LogRings
from accel.store.shared import SharedArena

HOST = b"example.org"


def request(*lines: bytes, target: bytes = b"/", method: bytes = b"GET", host: bytes = HOST) -> bytes:
    """Return one request."""
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, target, host, b"".join(line + b"\r\n" for line in lines))


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """Return a pair whose origin has a page under `/`."""
    made = twins()
    page(made, "/")
    yield made
    await made.end()


def page(pair: Pair, target: str, body: bytes = b"hello", status: int = 200, **fields: str) -> None:
    """Let both origins answer `target`."""
    for scene in pair.both:
        scene.origin.page(target, body, status, **fields)


async def warm(pair: Pair, data: bytes) -> None:
    """Ask until it is replayed: hits teach the host, then what the response varies on, then the answer."""
    for _ in range(6):
        if await is_replayed(pair, data):
            return
    raise AssertionError("it was never replayed")


async def is_replayed(pair: Pair, data: bytes) -> bool:
    """Send a request to both; whether the hot path answered it."""
    before = pair.replays
    await pair.send(data)
    return pair.replays > before


async def test_age_and_remaining_time_go_on_in_a_replay(pair: Pair) -> None:
    await warm(pair, request())
    await pair.after(7.5)

    assert await is_replayed(pair, request())

    answer = pair.clients[1].answers[-1]
    assert (answer["age"], answer["cache-status"]) == ("7", "accel; hit; ttl=52")


async def test_what_is_not_fresh_any_more_is_not_replayed(pair: Pair) -> None:
    await warm(pair, request())
    await pair.after(60.0)

    assert not await is_replayed(pair, request())


@pytest.mark.parametrize(
    "line",
    [
        b"Proxy-Connection: close",
        b"Connection: close, x",
        b"Connection: upgrade",
        b"Cache-Control: no-cache",
        b"Pragma: no-cache",
        b"Range: bytes=0-1",
        b"Authorization: x",
        b"Expect: x",
        b"TE: trailers",
        b"Content-Length: 0",
        b"If-Match: x",
        b"Host: example.org",
        b" folded",
        b"bad name: x",
        b"X: \x01",
        b"X: a\nY: b",
    ],
)
async def test_what_may_change_an_answer_is_left_to_the_general_path(pair: Pair, line: bytes) -> None:
    await warm(pair, request())

    assert not await is_replayed(pair, request(line))


@pytest.mark.parametrize(
    "line",
    [
        b"User-Agent: x",
        b"X: \xff\t y \t",
        b"connection:KEEP-ALIVE",
        b"Cookie: a=1",
        b"If-None-Match: ",
        b"x:",
        b"Close: x",
    ],
)
async def test_what_changes_nothing_is_replayed(pair: Pair, line: bytes) -> None:
    await warm(pair, request())
    await pair.send(request(line))

    assert await is_replayed(pair, request(line))


async def test_a_replay_that_closes_ignores_what_comes_behind(pair: Pair) -> None:
    await warm(pair, request())

    assert await is_replayed(pair, request(b"Connection: close") + request() * 2)


@pytest.mark.parametrize("value", [b"close", b"keep-alive", b"Close"])
async def test_rules_may_read_connection(pair: Pair, value: bytes) -> None:
    pair.rule(sites('deliver { when header.connection == "close" { set header "X-Closes" "yes" } }'))
    for _ in range(4):
        await pair.send(request(b"Connection: " + value))

    await pair.send(request())

    assert pair.replays == 1


@pytest.mark.parametrize("vary", ["close", "x-" + "n" * 60, ", ".join(f"x-{number}" for number in range(600))])
async def test_a_vary_that_cannot_be_keyed_leaves_the_others_replayed(pair: Pair, vary: str) -> None:
    page(pair, "/odd", cache_control="max-age=60", vary=vary)
    await warm(pair, request())
    for connection in (b"keep-alive", b"close") * 3:
        await pair.send(request(b"Close: x", b"Connection: " + connection, target=b"/odd"))
    assert pair.replays == 1

    assert await is_replayed(pair, request())


async def test_who_asks_why_is_told_by_the_general_path(pair: Pair) -> None:
    await warm(pair, request())
    client = pair.hot.client()

    client.send(request(b"Accel-Explain: 1"))

    assert pair.replays == 1
    assert "accel-explain" in client.answers[0]


async def test_a_variant_is_replayed_to_those_who_select_it(pair: Pair) -> None:
    page(pair, "/", cache_control="max-age=60", vary="accept-language")
    for language in (b"de", b"fr", b"de"):
        await warm(pair, request(b"Accept-Language: " + language))

    assert await is_replayed(pair, request(b"Accept-Language: de"))
    assert not await is_replayed(pair, request(b"Accept-Language: it"))
    assert_unpinned(pair.hot)


async def test_what_is_remembered_holds_no_segment(pair: Pair) -> None:
    page(pair, "/", b"x" * 400_000, cache_control="max-age=60", vary="accept-language")
    await warm(pair, request(b"Accept-Language: de"))

    assert_unpinned(pair.hot)


@pytest.mark.parametrize("size", range(90, 100))
async def test_limits_are_those_of_the_parser(size: int) -> None:
    pair = twins(lambda: {"limits": Limits(field_bytes=100, head_bytes=220)})
    page(pair, "/")
    await warm(pair, request(host=b"a"))
    for count in (0, 17, 18, 19, 20):
        await pair.send(b"GET / HTTP/1.1\r\nHost:a\r\nb:%b\r\n%b\r\n" % (b"x" * size, b"c:d\r\n" * count))
    await pair.end()


async def test_a_connection_closes_with_its_last_request(pair: Pair) -> None:
    pair.rule(sites(), Limits(requests_per_connection=3))
    for _ in range(3):
        pair.connect()
        await pair.send(*[request()] * 3)
    pair.connect()

    await pair.send(request() * 5)

    assert pair.replays >= 3


async def test_rules_that_count_keep_their_count_and_nothing_is_replayed(pair: Pair) -> None:
    pair.rule(sites('deliver { when cache.hits > 2 { set header "X-Hot" "yes" } }'))

    for _ in range(6):
        await pair.send(request())

    assert pair.replays == 0


async def test_rules_that_count_after_a_reload_know_of_earlier_replays(pair: Pair) -> None:
    for _ in range(6):
        await pair.send(request())
    pair.rule(sites('deliver { when cache.hits > 5 { set header "X-Hot" "yes" } }'))

    for _ in range(3):
        await pair.send(request())

    assert pair.clients[1].answers[-1]["x-hot"] == "yes"


async def test_hosts_are_governed_by_their_own_rules_after_a_reload(pair: Pair) -> None:
    a = 'site a.example\ndeliver { set header "X-By" "${header.x-a}" }'
    b = 'site b.example\ndeliver { set header "X-By" "${header.x-b}" }'
    both = [request(b"X-A: 1", b"X-B: 2", host=host) for host in (b"a.example", b"B.example.", b"b.example:80")]
    for texts in ((a, b), (a.replace("a.example", "b.example"), b.replace("b.example", "a.example"))):
        pair.rule(sites(*texts))
        for data in both * 4:
            await pair.send(data)
        for data in both:
            assert await is_replayed(pair, data)
            assert not await is_replayed(pair, data.replace(b": 1", b": 3").replace(b": 2", b": 4"))


async def test_spellings_of_a_host_do_not_fill_memory(pair: Pair) -> None:
    await warm(pair, request())
    for number in range(3000):
        spelled = bytes(byte ^ (32 if byte != 46 and number >> at & 1 else 0) for at, byte in enumerate(HOST))
        for client in pair.clients:
            client.send(request(host=spelled))
    pair.compare()

    assert pair.replayer.hosts <= 1024


async def test_long_signatures_do_not_fill_memory() -> None:
    pair = twins(entries=512)
    page(pair, "/")
    await warm(pair, request())
    for number in range(600):
        for client in pair.clients:
            client.send(request(b'If-None-Match: "%d%b"' % (number, b"x" * 3900)))
    pair.compare()

    assert len(pair.replayer) < 200
    await pair.end()


async def test_as_many_answers_are_remembered_as_there_is_room_for() -> None:
    pair = twins(entries=100)
    targets = [b"/%d" % number for number in range(100)]
    for target in targets:
        page(pair, target.decode(), target)
    for _ in range(4):
        for target in targets:
            await pair.send(request(target=target))
    assert len(pair.replayer) == 100

    assert all([await is_replayed(pair, request(target=target)) for target in targets])

    await pair.end()


async def test_what_was_not_used_lately_makes_room() -> None:
    pair = twins(entries=64)
    targets = [b"/%d" % number for number in range(300)]
    for target in targets:
        page(pair, target.decode(), target)
    await warm(pair, request(target=targets[0]))
    for target in targets[1:]:
        for _ in range(3):
            await pair.send(request(target=target))
        assert await is_replayed(pair, request(target=targets[0]))

    assert len(pair.replayer) == 64
    for target in targets:
        await pair.send(request(target=target))

    await pair.end()


async def test_a_replay_is_logged_as_the_hit_of_the_general_path_was(pair: Pair) -> None:
    scene, rings = pair.hot, LogRings(LEAST_RING_BYTES)
    memory = rings.memory(0)
    assert memory is not None and scene.service.hot is not None
    scene.service.log = RingWriter(memory)
    scene.service.hot.use(scene.service)
    page(pair, "/tagged", cache_control="max-age=60", surrogate_key="a b")
    asked = request(b"Referer: /x", b"User-Agent: y", target=b"/tagged")
    await warm(pair, asked)
    scene.service.log = None

    *_, hit, replay = records_of(rings.readers()[0].read(0)[0])

    assert hit.key_hash and hit.connection_id
    assert replay.exchange_id == hit.exchange_id + 1
    assert replace(replay, number=hit.number, exchange_id=hit.exchange_id) == hit


async def test_a_signature_that_waits_is_not_learned_under_other_rules(pair: Pair) -> None:
    rule = 'deliver { set header "X-By" "${header.NAME}" }'
    a, b = rule.replace("NAME", "x-a"), rule.replace("NAME", "x-b")
    pair.rule(sites(a))
    page(pair, "/big", b"x" * 100_000)
    await warm(pair, request(target=b"/big"))
    await warm(pair, request())
    for client in pair.clients:
        client.transport.stick()
    await pair.send(request(target=b"/big") + request(b"X-A: one", b"X-B: two"))
    pair.rule(sites(b))
    for client in pair.clients:
        client.transport.drain()
    for _ in range(4):
        await pair.send(request(b"X-B: zero"))

    await pair.send(request(b"X-B: one"))

    assert pair.clients[1].answers[-1]["x-by"] == "one"


async def test_a_client_that_does_not_read_is_held(pair: Pair) -> None:
    page(pair, "/", b"x" * 10_000)
    await warm(pair, request())
    for client in pair.clients:
        client.transport.stick()

    await pair.send(*[request() * 50] * 4)

    hot = pair.clients[1]
    assert hot.connection.phase is Phase.BUSY
    assert not hot.transport.is_reading
    assert hot.transport.get_write_buffer_size() < 200_000
    for client in pair.clients:
        client.transport.drain()
    await pair.settle()
    pair.compare()
    assert hot.connection.phase is Phase.IDLE
    assert hot.received.count(b"HTTP/1.1 200") == 4 + 200


async def test_what_is_refused_waits_for_what_waits_for_the_client(pair: Pair) -> None:
    page(pair, "/long", b"x" * 1_000_000)
    for target in (b"/long", b"/"):
        await warm(pair, request(target=target))
    pair.connect()
    for client in pair.clients:
        client.transport.stick()
    await pair.send(request(target=b"/long") + request() + b"GET / HTTP/1.1\r\n\r\n")
    for client in pair.clients:
        client.transport.drain()
    await pair.settle()

    pair.compare()
    assert [answer.status for answer in pair.clients[1].answers] == [200, 200, 400]


async def test_who_leaves_while_a_long_body_is_sent_leaves_no_pin(pair: Pair) -> None:
    page(pair, "/", b"x" * 1_500_000)
    await warm(pair, request())
    for client in pair.clients:
        client.transport.stick()
    await pair.send(request() + request())
    for client in pair.clients:
        client.transport.lose()
    await pair.settle()
    pair.connect()

    assert_unpinned(pair.hot)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("what", "names"),
    [
        (What.URL, (primary_key(HOST, b"/"),)),
        (What.TAG, (b"news",)),
        (What.ALL, ()),
        (What.BAN, (b'url == "/"',)),
    ],
)
async def test_what_was_invalidated_is_not_replayed(
    pair: Pair, what: What, names: tuple[bytes, ...], soft: bool
) -> None:
    page(pair, "/", cache_control="max-age=60", surrogate_key="news other")
    page(pair, "/other", cache_control="max-age=60", surrogate_key="other")
    await warm(pair, request())
    await warm(pair, request(target=b"/other"))
    for scene in pair.both:
        scene.machine.frees = False

    await pair.purge(Purge(what, names, soft))

    assert not await is_replayed(pair, request())
    if what in (What.URL, What.TAG):
        assert await is_replayed(pair, request(target=b"/other"))


async def test_another_workers_replacement_shows_at_once(make_scene: MakeScene) -> None:
    arena = SharedArena(16 << 20, 2, 1 << 20)
    hot = make_scene(arena=arena, is_logging=False)
    other = make_scene(arena=arena, row=1, beside=hot, is_logging=False)
    replayer = heated(hot)
    for number in range(6):
        hot.origin.page("/", b"%d" % number, vary="accept-language", cache_control="max-age=60")
        await other.get("/", cache_control="no-cache")
        for _ in range(4):
            assert (await hot.get("/")).body == b"%d" % number

    assert replayer.replays >= 6
    close_arena(hot)


async def test_a_worker_that_stops_closes_with_its_next_answer(pair: Pair) -> None:
    await warm(pair, request())

    for scene in pair.both:
        scene.clients.stop()

    assert not await is_replayed(pair, request())
    assert not pair.clients[1].answers


@pytest.mark.parametrize("vary", ["accept-language", "cookie"])
@pytest.mark.parametrize("rules", ["seal\n cookies keep lang, city", "cookies keep lang, city"])
async def test_cookies_that_rules_take_out_do_not_matter_and_the_others_do(pair: Pair, rules: str, vary: str) -> None:
    pair.rule(sites(f"request {{ {rules} }}"))
    page(pair, "/", cache_control="max-age=60", vary=vary)
    sent = (
        None,
        b"",
        b"; ;",
        b"_ga=1",
        b"_ga=2; _gid=3",
        b"lang=de",
        b"lang=de; _ga=4",
        b"lang=de;city=ulm",
        b"lang=de; city=ulm",
        b"x=1; lang=de;city=ulm",
        b"lang = de; city=ulm; x",
    )
    for value in sent * 4:
        await pair.send(request() if value is None else request(b"Cookie: " + value))

    assert await is_replayed(pair, request(b"Cookie: _ga=never"))
    assert await is_replayed(pair, request(b"Cookie: lang=de; _ga=never"))
