"""RFC 9111 as clients and origins of real processes see it."""

from __future__ import annotations

import gzip
import os
import signal
from pathlib import Path

import origins
import pytest
from accel_process import StartAccel
from children import eventually
from fault_origin import FaultOrigin, Talk, cut, gated, head, ordered, reply
from http_clients import Answer, Client, Load, ask, clients_of_every_worker, several_clients, wait_stale

pytestmark = pytest.mark.scene
MINUTE = "Cache-Control: max-age=60"


def ask_all(clients: list[Client], target: str) -> list[Answer]:
    """Ask on every connection at once, and return all the answers."""
    for client in clients:
        client.begin(target)
    return [client.answer() for client in clients]


@pytest.mark.parametrize("origin", ["gunicorn_sync", "gunicorn_gevent"])
def test_two_hundred_requests_reach_the_origin_once_per_worker_at_most(
    origin: str, start_accel: StartAccel, request: pytest.FixtureRequest
) -> None:
    accel = start_accel(request.getfixturevalue(origin).backends)

    answers = [ask(accel, "/cached") for _ in range(200)]

    assert {answer.status for answer in answers} == {200}
    assert len({answer.served for answer in answers}) <= 2
    assert sum(not answer.is_hit for answer in answers) <= 2
    assert accel.counter("fetches") <= 2


def test_a_miss_is_stored_and_then_hit(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", MINUTE))
    accel = start_accel([fault.backend], workers=1)

    miss, hit = ask(accel, "/page"), ask(accel, "/page")

    assert miss.cache_status.startswith("accel; fwd=uri-miss; fwd-status=200")
    assert hit.is_hit and hit.body == b"page" and int(hit.fields["age"]) <= 1
    assert "age" not in miss.fields
    assert len(fault.asked("/page")) == 1


@pytest.mark.parametrize(("kind", "copies"), [("shared", 1), ("private", 2)])
def test_a_purge_drops_a_page_in_every_worker_before_it_answers(
    start_accel: StartAccel, fault: FaultOrigin, kind: str, copies: int
) -> None:
    fault.on("/page", reply(b"page", MINUTE))
    accel = start_accel([fault.backend], "--store-kind", kind)

    with clients_of_every_worker(accel) as clients:
        ask_all(clients, "/page")
        stored = {answer.served for answer in ask_all(clients, "/page")}
        assert all(answer.is_hit for answer in ask_all(clients, "/page"))
        receipt = ask(accel, "/page", "PURGE")
        after = ask_all(clients, "/page")

    assert len(stored) == copies, "one for both workers, or each had fetched its own"
    assert receipt.status == 200 and b'"dropped": %d' % copies in receipt.body
    assert stored.isdisjoint({answer.served for answer in after})


def test_a_purge_drops_every_variant_and_a_second_one_finds_nothing(
    start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/page", reply(b"page", MINUTE, "Vary: Accept-Language"))
    accel = start_accel([fault.backend], workers=1)
    languages = [ask(accel, "/page", accept_language=language) for language in ("de", "fr", "de", "fr")]

    receipts = [ask(accel, "/page", "PURGE").status for _ in range(2)]
    after = [ask(accel, "/page", accept_language=language) for language in ("de", "fr")]

    assert [answer.is_hit for answer in languages] == [False, False, True, True]
    assert receipts == [200, 404]
    assert not any(answer.is_hit for answer in after)


def test_a_worker_that_slept_through_a_purge_serves_nothing_old(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"old", MINUTE))
    accel = start_accel([fault.backend], "--worker-timeout", "30s")

    with clients_of_every_worker(accel) as clients:
        ask_all(clients, "/page")
        fault.on("/page", reply(b"new", MINUTE))
        sleeper = accel.worker_pids()[0]
        os.kill(sleeper, signal.SIGSTOP)
        [receipt] = accel.admin("POST", "/purge", {"urls": ["http://scene/page"]})["receipts"]
        os.kill(sleeper, signal.SIGCONT)
        bodies = {answer.body for answer in ask_all(clients, "/page")}

    assert (receipt["dropped"], receipt["answered"], receipt["workers"]) == (1, 1, 2)
    assert bodies == {b"new"}


def test_a_purge_from_elsewhere_is_refused(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", MINUTE))
    accel = start_accel([fault.backend], "--purge-from", "192.0.2.0/24", workers=1)
    ask(accel, "/page")

    assert ask(accel, "/page", "PURGE").status == 403
    assert ask(accel, "/page").is_hit


def test_what_was_fetched_before_a_purge_is_not_stored_after_it(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", ordered(gated(reply(b"old", MINUTE)), reply(b"new", MINUTE)))
    accel = start_accel([fault.backend], workers=1)
    with several_clients(accel, 1) as [early]:
        early.begin("/page")
        fault.wait_asked("/page")
        ask(accel, "/page", "PURGE")
        fault.open_gate()
        old = early.answer()

    assert old.body == b"old"
    assert [ask(accel, "/page").body for _ in range(2)] == [b"new", b"new"]
    assert len(fault.asked("/page")) == 2
    assert accel.counter("not_stored_purged") == 1


def test_purging_over_the_admin_names_the_whole_url(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", reply(b"page", MINUTE))
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/page", host="example.org")

    [receipt] = accel.admin("POST", "/purge", {"urls": ["http://example.org/page"]})["receipts"]

    assert receipt["dropped"] == 1
    assert not ask(accel, "/page", host="example.org").is_hit


def test_a_404_is_stored_as_long_as_it_says_and_hosts_are_apart(
    start_accel: StartAccel, gunicorn_sync: origins.Origin
) -> None:
    accel = start_accel(gunicorn_sync.backends, workers=1)

    answers = [ask(accel, "/nowhere", host=host) for host in ("a.example", "A.EXAMPLE:80", "b.example")]

    assert [answer.status for answer in answers] == [404, 404, 404]
    assert [answer.is_hit for answer in answers] == [False, True, False]


def test_variants_are_apart_and_equal_codings_are_together(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, workers=1)

    answers = [ask(accel, "/coded/page.html", accept_encoding=coding) for coding in ("gzip", "identity")]
    equal = ("gzip;q=0.5, identity;q=0.1", "", "gzip")
    again = [ask(accel, "/coded/page.html", accept_encoding=coding) for coding in equal]

    assert [answer.fields.get("content-encoding") for answer in answers] == ["gzip", None]
    assert gzip.decompress(answers[0].body) == answers[1].body
    assert [(answer.is_hit, answer.body == answers[0].body) for answer in again] == [
        (True, True),
        (True, False),
        (True, True),
    ]


def test_an_origins_304_freshens_what_is_stored(start_accel: StartAccel, tornado: origins.Origin) -> None:
    accel = start_accel(tornado.backends, workers=1)

    answers = [ask(accel, "/revalidated") for _ in range(3)]

    assert {answer.body for answer in answers} == {b"the same each time"}
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert "fwd-status=304" in answers[1].cache_status
    assert accel.counter("hits_validated") == 2


def test_a_client_that_has_the_page_gets_304_from_the_store(start_accel: StartAccel, tornado: origins.Origin) -> None:
    accel = start_accel(tornado.backends, workers=1)
    tag = ask(accel, "/cached").fields["etag"]

    answer = ask(accel, "/cached", if_none_match=f'"other", W/{tag}')

    assert (answer.status, answer.body, answer.fields["etag"]) == (304, b"", tag)
    assert answer.is_hit
    assert accel.counter("not_modified") == 1


def test_ranges_come_from_the_stored_whole(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, workers=1)
    url = "/files/alphabet.txt"

    first = ask(accel, url, range="bytes=2-4")
    tag = first.fields["etag"]
    wanted = [ask(accel, url, range=value) for value in ("bytes=0-2", "bytes=-3", "bytes=30-")]
    several = ask(accel, url, range="bytes=0-1,24-25")
    changed = ask(accel, url, range="bytes=0-2", if_range='"another"')
    same = ask(accel, url, range="bytes=0-2", if_range=tag)

    assert (first.status, first.body) == (206, b"cde")
    assert [(answer.status, answer.body) for answer in wanted[:2]] == [(206, b"abc"), (206, b"xyz")]
    assert wanted[0].fields["content-range"] == "bytes 0-2/26"
    assert (wanted[2].status, wanted[2].fields["content-range"]) == (416, "bytes */26")
    assert several.fields["content-type"].startswith("multipart/byteranges; boundary=")
    assert b"bytes 0-1/26" in several.body and b"bytes 24-25/26" in several.body
    assert (changed.status, len(changed.body), same.status) == (200, 26, 206)
    assert accel.counter("fetches") == 1


def test_a_head_is_answered_from_a_stored_get(start_accel: StartAccel, nginx: origins.Origin) -> None:
    accel = start_accel(nginx.backends, workers=1)
    whole = ask(accel, "/files/alphabet.txt")

    answer = ask(accel, "/files/alphabet.txt", "HEAD")

    assert answer.is_hit and answer.body == b""
    assert answer.fields["content-length"] == "26"
    assert answer.fields["etag"] == whole.fields["etag"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_successful_unsafe_request_invalidates_its_target_and_its_location(
    method: str, start_accel: StartAccel, fault: FaultOrigin
) -> None:
    fault.on("/list", reply(b"list", MINUTE))
    fault.on("/item", reply(b"item", MINUTE))
    accel = start_accel([fault.backend])

    with clients_of_every_worker(accel) as clients:
        for target in ("/list", "/item"):
            ask_all(clients, target)
        fault.on("/list", reply(b"changed", MINUTE, "Location: /item"))
        fault.on("/item", reply(b"changed", MINUTE))
        assert ask(accel, "/list", method, b"new").status == 200
        after = ask_all(clients, "/list") + ask_all(clients, "/item")

    assert {answer.body for answer in after} == {b"changed"}


def test_a_failed_unsafe_request_invalidates_nothing(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", ordered(reply(b"page", MINUTE), reply(b"no", status=409)))
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/page")

    assert ask(accel, "/page", "POST", b"new").status == 409
    assert ask(accel, "/page").is_hit


def test_a_stale_page_is_served_while_one_refresh_is_under_way(start_accel: StartAccel, fault: FaultOrigin) -> None:
    short = "Cache-Control: max-age=1, stale-while-revalidate=60"
    fault.on("/page", ordered(reply(b"old", short), gated(reply(b"new", MINUTE))))
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/page")
    wait_stale(accel, "/page")

    stale = [ask(accel, "/page") for _ in range(20)]
    fault.wait_asked("/page", 2)
    fault.open_gate()
    eventually("the new page is stored", lambda: ask(accel, "/page").body == b"new")

    assert {answer.body for answer in stale} == {b"old"}
    assert all(answer.is_hit for answer in stale)
    assert len(fault.asked("/page")) == 2
    assert accel.counter("refreshes") == 1


def test_a_stale_page_is_served_when_the_origin_was_killed(start_accel: StartAccel, tmp_path: Path) -> None:
    origin = origins.tornado(tmp_path)
    try:
        accel = start_accel(origin.backends, workers=1)
        kept = ask(accel, "/kept")
        wait_stale(accel, "/kept")
        origin.end()
        stale, strict = ask(accel, "/kept"), ask(accel, "/cached")
    finally:
        origin.end()

    assert (stale.status, stale.body) == (200, kept.body)
    assert stale.cache_status.startswith("accel; fwd=stale") and int(stale.fields["age"]) >= 1
    assert strict.status == 503
    assert accel.counter("hits_stale") == 1


def test_a_stale_page_is_served_instead_of_an_origins_500(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", ordered(reply(b"good", "Cache-Control: max-age=1, stale-if-error=60"), reply(b"bad", status=500)))
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/page")
    wait_stale(accel, "/page")

    answer = ask(accel, "/page")

    assert (answer.status, answer.body) == (200, b"good")


def test_a_refresh_that_is_cut_short_leaves_the_stale_page(start_accel: StartAccel, fault: FaultOrigin) -> None:
    short = "Cache-Control: max-age=1, stale-while-revalidate=60"
    half = head(200, MINUTE, "Content-Length: 1000") + b"x" * 500
    fault.on("/page", ordered(reply(b"old", short), cut(half)))
    fault.open_gate()
    accel = start_accel([fault.backend], workers=1)
    ask(accel, "/page")
    wait_stale(accel, "/page")

    first = ask(accel, "/page")
    eventually("the refresh was cut", lambda: accel.counter("fetch_truncated") == 1)
    second = ask(accel, "/page")

    assert first.body == second.body == b"old"
    assert first.is_hit and second.is_hit


def test_nobody_gets_an_older_version_after_a_purge_under_load(start_accel: StartAccel, fault: FaultOrigin) -> None:
    """Versions go up by one before each purge; what is asked for after the purge was answered is never older."""
    version = 0

    async def script(talk: Talk) -> bool:
        return await reply(b"%d" % version, MINUTE)(talk)

    fault.on("/page", script)
    accel = start_accel([fault.backend])

    with clients_of_every_worker(accel) as clients, Load(accel.port, ["/page"]) as load:
        for version in range(1, 41):
            assert ask(accel, "/page", "PURGE").status in (200, 404)
            bodies = {int(answer.body) for answer in ask_all(clients, "/page")}
            assert bodies == {version}

    assert load.failures == []
    assert set(load.statuses) == {200}


def test_a_hundred_misses_at_once_are_one_fetch_in_a_worker(start_accel: StartAccel, fault: FaultOrigin) -> None:
    fault.on("/page", gated(reply(b"page", MINUTE)))
    accel = start_accel([fault.backend], workers=1)
    with several_clients(accel, 100) as clients:
        for client in clients:
            client.begin("/page")
        eventually("all requests are in", lambda: accel.connections() == [100])
        fault.open_gate()
        answers = [client.answer() for client in clients]

    assert {answer.served for answer in answers} == {answers[0].served}
    assert len(fault.asked("/page")) == 1
