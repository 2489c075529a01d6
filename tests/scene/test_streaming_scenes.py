"""Bodies that stream: memory stays flat whatever their size, and one that was cut never looks whole."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import origins
import pytest
from accel_process import Accel, StartAccel
from children import eventually, forget_peak, peak_bytes, resident_bytes
from fault_origin import FaultOrigin, cut, early, endless, gated, halved, head, ordered, raw, reply
from http_clients import Raw, ask, clients_of_every_worker

pytestmark = pytest.mark.scene
GIB, MIB = 1 << 30, 1 << 20
GROWTH_BYTES = 2 * MIB
MINUTE = "Cache-Control: max-age=60"
NEVER_STORED = "Cache-Control: no-store"


@contextlib.contextmanager
def flat_memory(accel: Accel) -> Iterator[None]:
    """Fail if the peak of any worker's memory rises by more than `GROWTH_BYTES` meanwhile."""
    pids = accel.worker_pids()
    before = {pid: resident_bytes(pid) for pid in pids}
    for pid in pids:
        forget_peak(pid)
    yield
    growth = {pid: peak_bytes(pid) - before[pid] for pid in pids}
    assert max(growth.values()) < GROWTH_BYTES, growth


def read_head(client: Raw) -> int:
    """Read an answer's head; return its Content-Length."""
    fields = client.receive_until(b"\r\n\r\n").lower()
    return int(fields.partition(b"content-length:")[2].split(b"\r\n", 1)[0])


def warm(accel: Accel) -> None:
    """Let each worker stream something once: the first time, code and buffers are loaded for good."""
    with clients_of_every_worker(accel) as clients:
        for client in clients:
            client.ask("/large/mib4")


def test_a_gibibyte_streams_through_a_worker_in_flat_memory(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends)
    warm(accel)

    with flat_memory(accel), Raw(accel.port) as client:
        client.get("/large/gib")
        received = client.discard(read_head(client))

    assert received == GIB


def test_four_clients_at_a_crawl_are_sent_a_hundred_mebibytes_in_flat_memory(
    start_accel: StartAccel, nginx: origins.Origin
) -> None:
    accel = start_accel(nginx.backends)
    warm(accel)

    with flat_memory(accel), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(accel.port, receive_buffer=4096)) for _ in range(4)]
        for client in clients:
            client.get("/large/mib100")
        lengths = [read_head(client) for client in clients]
        wait_stalled(accel)
        received = [sum(crawl) for crawl in zip(*(crawl_round(clients) for _ in range(500)), strict=True)]
        rest = [client.discard(length - got) for client, length, got in zip(clients, lengths, received, strict=True)]

    assert [sum(both) for both in zip(received, rest, strict=True)] == [100 * MIB] * 4


def crawl_round(clients: list[Raw]) -> list[int]:
    """Read a little from each client; return how much each got."""
    return [len(client.receive(512)) for client in clients]


def wait_stalled(accel: Accel) -> None:
    """Wait until back-pressure has reached the origin: what comes from it has come to a stop."""
    taken = [-1, 0]

    def has_stopped() -> bool:
        taken.append(accel.counter("origin_bytes_in"))
        return taken[-1] > 0 and len(set(taken[-10:])) == 1

    eventually("the origin is held back", has_stopped)


def test_a_large_upload_in_chunks_streams_in_flat_memory(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/upload", reply(b"taken", NEVER_STORED))
    accel = start_accel([fault.backend])
    upload(accel, 4)

    with flat_memory(accel):
        status = upload(accel, 256)

    assert status == 200
    assert fault.asked("/upload")[-1].body_bytes == 256 * MIB
    assert fault.asked("/upload")[-1].fields["transfer-encoding"] == "chunked"


def upload(accel: Accel, mebibytes: int) -> int:
    """POST so much in chunks; return the answer's status."""
    connection = http.client.HTTPConnection("127.0.0.1", accel.port, timeout=30)
    with contextlib.closing(connection):
        pieces = (bytes(MIB) for _ in range(mebibytes))
        connection.request("POST", "/upload", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        return connection.getresponse().status


@pytest.mark.parametrize("framing", ["gunicorn_sync", "gunicorn_gevent", "tornado"])
def test_a_stream_of_unknown_length_arrives_whole(
    framing: str, start_accel: StartAccel, request: pytest.FixtureRequest
) -> None:
    accel = start_accel(request.getfixturevalue(framing).backends)

    answer = ask(accel, "/stream")

    assert answer.fields["transfer-encoding"] == "chunked"
    assert answer.body == b"".join(b"piece %03d\n" % number for number in range(100))


@pytest.mark.parametrize("by_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("policy", [MINUTE, NEVER_STORED])
def test_a_body_that_the_origin_cuts_ends_uncleanly_and_is_not_stored(
    policy: str, by_reset: bool, start_accel: StartAccel, fault: FaultOrigin
) -> None:
    half = head(200, policy, "Content-Length: 100000") + b"x" * 50000
    fault.on("/page", ordered(cut(half, by_reset), reply(b"whole", MINUTE)))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as client:
        client.get("/page")
        assert read_head(client) == 100000
        assert client.discard(50000) == 50000
        fault.open_gate()
        assert client.ended()

    assert ask(accel, "/page").body == b"whole"
    assert accel.counter("fetch_truncated") == 1


def test_chunks_that_the_origin_does_not_end_are_not_ended_for_the_client(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    half = head(200, MINUTE, "Transfer-Encoding: chunked") + b"4\r\nhalf\r\n"
    fault.on("/page", ordered(cut(half), reply(b"whole", MINUTE)))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as client:
        client.get("/page")
        assert client.receive_until(b"half\r\n").endswith(b"4\r\nhalf\r\n")
        fault.open_gate()
        assert client.ended()

    assert ask(accel, "/page").body == b"whole"


def test_every_client_of_a_shared_fetch_sees_that_it_was_cut(start_accel: StartAccel, fault: FaultOrigin) -> None:
    half = head(200, MINUTE, "Content-Length: 1000") + b"x" * 500
    fault.on("/page", cut(half))
    accel = start_accel([fault.backend], workers=1)

    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Raw(accel.port)) for _ in range(5)]
        for client in clients:
            client.get("/page")
        for client in clients:
            read_head(client)
            assert client.discard(500) == 500
        fault.open_gate()
        assert [client.ended() for client in clients] == [True] * 5

    assert len(fault.asked("/page")) == 1
    assert accel.counter("stored") == 0


def test_a_body_reaches_the_client_while_the_origin_still_makes_it(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/page", halved(b"first half, other half", MINUTE))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as leader, Raw(accel.port) as follower:
        leader.get("/page")
        leader.receive_until(b"first half,")
        follower.get("/page")
        follower.receive_until(b"first half,")
        fault.open_gate()
        assert leader.receive_until(b"half") == follower.receive_until(b"half") == b" other half"

    assert len(fault.asked("/page")) == 1


def test_an_endless_body_that_may_be_stored_is_passed_on_in_bounded_memory(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/endless", endless(MINUTE))
    accel = start_accel([fault.backend], "--memory", "8m", workers=1)
    [pid] = accel.worker_pids()
    before = resident_bytes(pid)
    forget_peak(pid)

    with Raw(accel.port) as client:
        client.get("/endless")
        assert client.discard(256 * MIB) == 256 * MIB

    assert peak_bytes(pid) - before < 8 * MIB
    assert accel.counter("not_stored_no_room") == 1
    assert accel.counter("stored") == 0


def test_a_client_that_leaves_an_endless_body_ends_its_fetch(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/endless", endless(NEVER_STORED))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as client:
        client.get("/endless")
        client.discard(MIB)

    eventually("the origin saw the end", lambda: fault.asked("/endless")[0].is_gone)
    eventually("it is counted", lambda: accel.counter("client_aborts") == 1)
    assert accel.backends()[fault.backend]["in_flight"] == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 1000 Much\r\nContent-Length: 5\r\n\r\nhello",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20 + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"",
    ],
    ids=["lengths", "coding", "both", "name", "version", "status", "no-http", "flood-of-1xx", "nothing"],
)
def test_an_answer_that_breaks_the_rules_is_a_502(answer: bytes, start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", raw(answer))
    accel = start_accel([fault.backend], workers=1)

    bad = ask(accel, "/page")

    assert bad.status == 502
    assert bad.fields["cache-control"] == "no-store"
    assert accel.counter("fetch_bad_responses") >= 1


def test_some_1xx_are_swallowed(start_accel: StartAccel, fault: FaultOrigin) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5
    fault.on("/page", raw(hints + head(200, "Content-Length: 5") + b"hello"))
    accel = start_accel([fault.backend], workers=1)

    assert ask(accel, "/page").body == b"hello"


def test_bytes_after_an_answer_are_never_another_answer(start_accel: StartAccel, fault: FaultOrigin) -> None:
    one = head(200, "Content-Length: 3", NEVER_STORED) + b"one"
    poison = head(200, "Content-Length: 6", MINUTE) + b"poison"
    fault.on("/page", ordered(raw(one + poison), reply(b"two", NEVER_STORED)))
    accel = start_accel([fault.backend], workers=1)

    assert [ask(accel, "/page").body for _ in range(2)] == [b"one", b"two"]


def test_an_origin_that_says_nothing_is_a_504_and_is_let_go(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/slow", gated(reply(b"late", MINUTE)))
    accel = start_accel([fault.backend], "--first-byte-timeout", "300ms", workers=1)

    answer = ask(accel, "/slow")

    assert answer.status == 504
    eventually("the origin saw the end", lambda: fault.asked("/slow")[0].is_gone)
    assert accel.counter("fetch_timeouts") == 1


def test_an_origin_that_stops_in_a_body_is_cut_off(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", ordered(halved(b"x" * 1000, MINUTE), reply(b"whole", MINUTE)))
    accel = start_accel([fault.backend], "--between-bytes-timeout", "300ms", workers=1)

    with Raw(accel.port) as client:
        client.get("/page")
        read_head(client)
        assert client.discard(500) == 500
        assert client.ended()

    assert ask(accel, "/page").body == b"whole"


def test_an_early_answer_reaches_a_client_that_is_still_sending(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/upload", early(413))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: scene\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 1000)
        answer = client.receive_until(b"early")

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nConnection: close\r\n" in answer


def test_a_request_body_is_never_sent_twice(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/order", raw(b""))
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/warm")

    answer = ask(accel, "/order", "POST", b"one of these, please")

    assert answer.status == 502
    assert len(fault.asked("/order")) == 1


def test_a_fetch_that_fills_the_cache_outlives_its_client(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", halved(b"x" * 1000, MINUTE))
    accel = start_accel([fault.backend], workers=1)

    with Raw(accel.port) as client:
        client.get("/page")
        read_head(client)
    eventually("the client's end is counted", lambda: accel.counter("client_aborts") == 1)
    fault.open_gate()
    eventually("the page is stored", lambda: accel.counter("stored") == 1)

    assert ask(accel, "/page").is_hit
