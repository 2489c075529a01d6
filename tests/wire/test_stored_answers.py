"""Answers from what is stored: whole, 304, ranges, variants, and what a request's own directives make of it."""

from __future__ import annotations

import re

import pytest
from answers import Answer
from memory_origin import Call
from wire_scene import NOW, MakeScene, Scene

from accel.config import CachingOptions, Limits
from accel.http.fields import format_date

BODY = bytes(range(256)) * 4
DATE, EARLIER, LATER = (format_date(NOW + offset).decode() for offset in (0, -86_400, 86_400))


@pytest.fixture
async def stored(scene: Scene) -> Scene:
    """Return a scene with one response stored under `/`."""
    scene.origin.page(
        "/",
        BODY,
        cache_control="max-age=60",
        content_type="text/plain",
        etag='"v1"',
        last_modified=EARLIER,
        date=DATE,
        x_other="kept",
        vary="accept-language",
        content_location="/x",
    )
    assert (await scene.get()).cache_status == ["fwd=uri-miss", "fwd-status=200", "ttl=60", "stored"]
    return scene


async def test_a_hit_is_the_origins_answer_with_its_age(stored: Scene) -> None:
    await stored.after(7)
    answer = await stored.get()
    assert answer.body == BODY
    assert answer["age"] == "7"
    assert answer["via"] == "1.1 accel"
    assert answer["x-other"] == "kept"
    assert answer.cache_status == ["hit", "ttl=53"]
    assert len(stored.origin.calls) == 1


async def test_head_is_answered_from_a_stored_get(stored: Scene) -> None:
    answer = await stored.get("/", "HEAD")
    assert (answer["content-length"], answer.cache_status[0]) == (str(len(BODY)), "hit")
    client = stored.client()
    client.send(client.request("/", "HEAD") + client.request("/"))
    await stored.settle()
    assert [answer.body for answer in client.answers] == [b"", BODY]


async def test_head_goes_to_the_origin_when_nothing_is_stored(scene: Scene) -> None:
    client = scene.client()
    client.ask("/", "HEAD")
    call = await scene.call()
    assert call.request.method == b"HEAD"
    call.answer(b"12345", etag='"a"')
    client.ask("/", "HEAD")
    (await scene.call(1)).answer(b"12345", etag='"a"')
    await scene.settle()
    assert [answer["content-length"] for answer in client.answers] == ["5", "5"]


# Preconditions (RFC 9110 §13).


@pytest.mark.parametrize(
    "condition",
    [
        {"if_none_match": '"v1"'},
        {"if_none_match": 'W/"v1"'},
        {"if_none_match": '"v0", "v1"'},
        {"if_none_match": "*"},
        {"if_modified_since": EARLIER},
        {"if_modified_since": LATER},
        {"if_none_match": '"v1"', "if_modified_since": "nonsense"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_client_that_has_it_gets_a_304(stored: Scene, condition: dict[str, str], method: str) -> None:
    answer = await stored.get("/", method, **condition)
    assert answer.status == 304
    assert (answer["etag"], answer["date"], answer["cache-control"]) == ('"v1"', DATE, "max-age=60")
    assert (answer["vary"], answer["content-location"]) == ("accept-language", "/x")
    left_out = {b"content-type", b"content-length", b"last-modified", b"x-other"}
    assert not left_out & {name for name, _ in answer.lines}
    assert stored.counts("not_modified", "hits") == (1, 1)


@pytest.mark.parametrize(
    "condition",
    [
        {"if_none_match": '"v2"'},
        {"if_none_match": "v1"},
        {"if_none_match": '"v2"', "if_modified_since": LATER},
        {"if_modified_since": format_date(NOW - 90_000).decode()},
        {"if_modified_since": "yesterday"},
    ],
)
async def test_a_client_that_has_it_not_gets_the_whole(stored: Scene, condition: dict[str, str]) -> None:
    answer = await stored.get("/", **condition)
    assert (answer.status, answer.body) == (200, BODY)


async def test_a_condition_on_a_miss_does_not_decide_what_is_stored(scene: Scene) -> None:
    client = scene.client()
    client.ask(if_none_match='"v1"', range="bytes=0-1", if_range='"v1"', if_modified_since=DATE)
    call = await scene.call()
    left_out = {b"if-none-match", b"range", b"if-range", b"if-modified-since"}
    assert not left_out & {name for name, _ in call.fields.lines}
    call.answer(BODY, etag='"v1"', cache_control="max-age=60")
    await scene.settle()
    assert client.answers[0].status == 304
    assert (await scene.get()).body == BODY


# Ranges (RFC 9110 §14).


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=1000-", 1000, 1024),
        ("bytes=-24", 1000, 1024),
        ("bytes=-9999", 0, 1024),
        ("bytes=1020-9999", 1020, 1024),
        ("BYTES=0-9", 0, 10),
        ("bytes=0-9, 10-19", 0, 20),
        ("bytes=0-9, 5-19", 0, 20),
        ("bytes= 3-4 , 9999-", 3, 5),
    ],
)
async def test_one_part(stored: Scene, asked: str, start: int, stop: int) -> None:
    answer = await stored.get(range=asked)
    assert (answer.status, answer.body, answer.is_whole) == (206, BODY[start:stop], True)
    assert answer["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert (answer["etag"], answer["content-type"]) == ('"v1"', "text/plain")
    assert stored.counts("partial", "hits") == (1, 1)


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=0-1, 9-9", "bytes=9999-"])
async def test_a_parts_head_goes_out_with_its_body(
    stored: Scene, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    client = stored.client()
    write, writes = client.transport.write, 0

    def counted(data: bytes) -> None:
        nonlocal writes
        writes += 1
        write(data)

    monkeypatch.setattr(client.transport, "write", counted)
    client.ask(range=asked)

    assert writes == 1
    assert client.answers[0].is_whole


async def test_several_parts(stored: Scene) -> None:
    answer = await stored.get(range="bytes=0-1, -2, 100-101")
    assert answer.status == 206
    assert "content-range" not in answer
    boundary = answer["content-type"].removeprefix("multipart/byteranges; boundary=").encode()
    parts = answer.body.split(b"--" + boundary)
    assert parts[0] in (b"", b"\r\n")
    assert parts[-1] == b"--\r\n"
    pattern = rb"\r\nContent-Type: text/plain\r\nContent-Range: (.*?)\r\n\r\n(.*)\r\n"
    found = [re.fullmatch(pattern, part, re.S) for part in parts[1:-1]]
    assert [(part[1], part[2]) for part in found if part] == [
        (b"bytes 0-1/1024", BODY[:2]),
        (b"bytes 1022-1023/1024", BODY[-2:]),
        (b"bytes 100-101/1024", BODY[100:102]),
    ]


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=-0", "bytes=2000-3000, 5000-"])
async def test_no_part_is_a_416(stored: Scene, asked: str) -> None:
    answer = await stored.get(range=asked)
    assert (answer.status, answer["content-range"], answer.body) == (416, "bytes */1024", b"")


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=5-4",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "lines=1-2",
        "bytes=0-1,2",
        "bytes=" + ",".join(f"{at}-{at}" for at in range(0, 18, 2)),
        "bytes=0-,0-",
        "bytes=0-1000,500-1023",
        "bytes=0-" + "9" * 5000,
    ],
)
async def test_a_range_that_is_ignored(stored: Scene, asked: str) -> None:
    answer = await stored.get(range=asked)
    assert (answer.status, answer.body) == (200, BODY)


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"v1"', 206), ('W/"v1"', 200), ('"v0"', 200), (EARLIER, 206), (DATE, 200), ("nonsense", 200)],
)
async def test_if_range(stored: Scene, condition: str, status: int) -> None:
    assert (await stored.get(range="bytes=0-1", if_range=condition)).status == status


async def test_a_304_comes_before_a_range(stored: Scene) -> None:
    """RFC 9110 §13.2.2."""
    assert (await stored.get(range="bytes=0-1", if_none_match='"v1"')).status == 304
    assert (await stored.get(range="bytes=0-1", if_none_match='"v0"')).status == 206


async def test_a_range_counts_for_get_alone(stored: Scene) -> None:
    assert (await stored.get("/", "HEAD", range="bytes=0-1")).status == 200


async def test_a_range_of_a_stored_error_is_the_error(scene: Scene) -> None:
    scene.origin.page("/", b"gone", 404, cache_control="max-age=60")
    await scene.get()
    answer = await scene.get(range="bytes=0-1")
    assert (answer.status, answer.body, answer.cache_status[0]) == (404, b"gone", "hit")


async def test_a_206_of_an_origin_is_passed_and_not_stored(scene: Scene) -> None:
    scene.origin.page("/", b"ab", 206, cache_control="max-age=60", content_range="bytes 0-1/10")
    assert (await scene.get(range="bytes=0-1")).status == 206
    assert (await scene.get(range="bytes=0-1")).cache_status[0] == "fwd=uri-miss"
    assert scene.count("stored") == 0


# Request directives (RFC 9111 §5.2.1).


@pytest.mark.parametrize(
    ("directives", "told"),
    [
        ({"cache_control": "no-cache"}, "fwd=request"),
        ({"cache_control": "max-age=0"}, "fwd=request"),
        ({"cache_control": "max-age=5"}, "fwd=request"),
        ({"cache_control": "max-age=20"}, "hit"),
        ({"cache_control": "min-fresh=55"}, "fwd=request"),
        ({"cache_control": "min-fresh=40"}, "hit"),
        ({"pragma": "no-cache"}, "fwd=request"),
        ({"pragma": "no-cache", "cache_control": "max-stale"}, "hit"),
        ({"cache_control": "only-if-cached"}, "hit"),
        ({"cache_control": "no-store"}, "hit"),
    ],
)
async def test_a_request_directive_on_a_fresh_response(stored: Scene, directives: dict[str, str], told: str) -> None:
    await stored.after(10)
    assert (await stored.get(**directives)).cache_status[0] == told


async def test_a_reload_may_be_ignored(make_scene: MakeScene) -> None:
    scene = make_scene(caching=CachingOptions(ignore_reload=True))
    scene.origin.page("/")
    await scene.get()
    assert (await scene.get(cache_control="no-cache")).cache_status[0] == "hit"


async def test_only_if_cached_without_anything_is_a_504(scene: Scene) -> None:
    answer = await scene.get(cache_control="only-if-cached")
    assert (answer.status, answer["cache-control"]) == (504, "no-store")
    assert scene.origin.calls == []
    assert scene.counts("errors", "misses") == (1, 0)


async def test_max_stale_takes_what_is_stale(scene: Scene) -> None:
    scene.origin.page("/", cache_control="max-age=5")
    await scene.get()
    await scene.after(10)
    assert (await scene.get(cache_control="max-stale=3")).cache_status[0] == "fwd=stale"
    await scene.after(10)
    answer = await scene.get(cache_control="max-stale=60, only-if-cached")
    assert answer.cache_status == ["hit", "ttl=-5"]


async def test_a_request_that_forbids_storing_is_not_stored(scene: Scene) -> None:
    scene.origin.page("/")
    await scene.get(cache_control="no-store")
    assert (await scene.get()).cache_status[0] == "fwd=uri-miss"
    assert (await scene.get()).cache_status[0] == "hit"


# What is stored at all.


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": "no-store"},
        {"cache_control": "private"},
        {"cache_control": "max-age=60", "set_cookie": "a=b"},
        {"cache_control": "max-age=60", "vary": "*"},
        {"content_type": "text/css"},
        {"cache_control": "max-age=0"},
        {"expires": "0"},
    ],
)
async def test_what_may_not_be_stored_is_fetched_each_time(scene: Scene, fields: dict[str, str]) -> None:
    scene.origin.page("/style.css", **fields)
    for _ in range(3):
        assert (await scene.get("/style.css")).status == 200
    assert len(scene.origin.calls) == 3
    assert scene.counts("stored", "misses") == (0, 3)


@pytest.mark.parametrize("status", [400, 405, 413, 414, 431, 501])
async def test_an_error_that_the_request_caused_is_not_stored_unasked(make_scene: MakeScene, status: int) -> None:
    scene = make_scene(caching=CachingOptions(heuristic=True))
    scene.origin.page("/", b"no", status, last_modified=EARLIER)
    await scene.get()
    await scene.get()
    assert len(scene.origin.calls) == 2


async def test_an_answer_to_credentials_is_shared_only_by_licence(scene: Scene) -> None:
    scene.origin.page("/mine", cache_control="max-age=60")
    scene.origin.page("/ours", cache_control="public, max-age=60")
    for target, calls in (("/mine", 2), ("/ours", 1)):
        before = len(scene.origin.calls)
        await scene.get(target, authorization="Basic eDp5")
        await scene.get(target, authorization="Basic eDp6")
        assert len(scene.origin.calls) - before == calls
    await scene.get("/mine")
    assert (await scene.get("/mine", authorization="Basic eDp5")).cache_status[0] == "fwd=request"


async def test_the_full_key_is_compared_and_the_file_ending_means_nothing(scene: Scene) -> None:
    for target in ("/a.css", "/a.css?v=1", "/a.css?V=1", "/A.css"):
        scene.origin.page(target, target.encode())
        await scene.get(target)
    for target in ("/a.css", "/a.css?v=1", "/a.css?V=1", "/A.css"):
        assert (await scene.get(target)).body == target.encode()
    assert len(scene.origin.calls) == 4
    assert (await scene.get("/a.css", host="other.org")).cache_status[0] == "fwd=uri-miss"


# Variants (RFC 9111 §4.1).


def _by_language(scene: Scene) -> None:
    def answer(call: Call) -> None:
        language = call.fields.get(b"accept-language") or b"none"
        call.answer(language, cache_control="max-age=60", vary="Accept-Language")

    scene.origin.script[b"/"] = answer


async def test_variants_are_told_apart(scene: Scene) -> None:
    _by_language(scene)
    reasons = []
    for language in ("de", "en", "de", "en"):
        answer = await scene.get(accept_language=language)
        assert answer.body == language.encode()
        reasons.append(answer.cache_status[0])
    missing = await scene.get()
    assert missing.body == b"none"
    assert reasons == ["fwd=uri-miss", "fwd=vary-miss", "hit", "hit"]
    assert missing.cache_status[0] == "fwd=vary-miss"


async def test_of_too_many_variants_the_least_used_goes(make_scene: MakeScene) -> None:
    scene = make_scene(limits=Limits(variants=3))
    _by_language(scene)
    for language in ("a", "b", "c", "a", "d"):
        await scene.get(accept_language=language)
    told = {language: (await scene.get(accept_language=language)).cache_status[0] for language in "acdb"}
    assert told == {"a": "hit", "c": "hit", "d": "hit", "b": "fwd=vary-miss"}


async def test_accept_encoding_counts_by_its_meaning(scene: Scene) -> None:
    scene.origin.page("/", cache_control="max-age=60", vary="Accept-Encoding", content_encoding="gzip")
    await scene.get(accept_encoding="gzip, br")
    assert (await scene.get(accept_encoding="br;q=0.5,gzip ; q=1")).cache_status[0] == "hit"
    assert (await scene.get(accept_encoding="gzip, br;q=0")).cache_status[0] == "fwd=vary-miss"
    assert (await scene.get()).cache_status[0] == "fwd=vary-miss"


async def test_a_purge_drops_every_variant(scene: Scene) -> None:
    _by_language(scene)
    for language in ("de", "en", "fr"):
        await scene.get(accept_language=language)
    answer = await scene.get("/", "PURGE")
    assert (answer.status, b'"dropped": 3' in answer.body) == (200, True)
    assert (await scene.get(accept_language="de")).cache_status[0] == "fwd=uri-miss"


# PURGE.


async def test_a_purge_of_nothing_is_a_404(scene: Scene) -> None:
    assert (await scene.get("/", "PURGE")).status == 404
    assert scene.counts("synthetic", "errors") == (1, 0)


@pytest.mark.parametrize("peer", ["192.0.2.1", "2001:db8::1", ""])
async def test_a_purge_from_elsewhere_is_a_403(scene: Scene, peer: str) -> None:
    scene.origin.page("/")
    await scene.get()
    assert (await scene.get("/", "PURGE", scene.client(peer))).status == 403
    assert (await scene.get()).cache_status[0] == "hit"


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_a_purge_from_here_is_done(scene: Scene, peer: str) -> None:
    scene.origin.page("/")
    await scene.get()
    assert (await scene.get("/", "PURGE", scene.client(peer))).status == 200
    assert (await scene.get()).cache_status[0] == "fwd=uri-miss"


@pytest.mark.parametrize("field", ["x_forwarded_for", "forwarded", "via"])
async def test_a_purge_that_somebody_forwarded_is_a_403(scene: Scene, field: str) -> None:
    assert (await scene.get("/", "PURGE", **{field: "x"})).status == 403


# Unsafe methods (RFC 9111 §4.4).


@pytest.mark.parametrize(("status", "told"), [(200, "fwd=uri-miss"), (303, "fwd=uri-miss"), (404, "hit"), (500, "hit")])
async def test_a_successful_unsafe_method_ends_what_is_stored(scene: Scene, status: int, told: str) -> None:
    scene.origin.page("/")
    await scene.get()
    scene.origin.page("/", b"done", status, x="y")
    posted = await scene.get("/", "POST")
    assert (posted.status, posted.cache_status[0]) == (status, "fwd=method")
    assert (await scene.get()).cache_status[0] == told


async def test_location_is_ended_too_on_the_same_host_alone(scene: Scene) -> None:
    for target in ("/new", "/here", "/else"):
        scene.origin.page(target)
        await scene.get(target)
    scene.origin.page("/post", b"", 201, location="/new", content_location="http://example.org/here")
    await scene.get("/post", "POST")
    scene.origin.page("/post", b"", 201, location="http://other.org/else")
    await scene.get("/post", "POST")
    told = [(await scene.get(target)).cache_status[0] for target in ("/new", "/here", "/else")]
    assert told == ["fwd=uri-miss", "fwd=uri-miss", "hit"]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD"])
async def test_a_safe_method_ends_nothing(scene: Scene, method: str) -> None:
    scene.origin.page("/")
    await scene.get()
    await scene.get("/", method)
    assert (await scene.get()).cache_status[0] == "hit"


def test_answers_are_read_strictly() -> None:
    """The reader that the other tests rely on."""
    with pytest.raises(ValueError, match="values to unpack"):
        Answer(200, b"", [(b"a", b"1"), (b"a", b"2")])["a"]


# A Range on a miss: the whole is fetched and stored, the client gets its part as it comes.


@pytest.mark.parametrize(
    ("asked", "start", "stop"), [("bytes=0-1", 0, 2), ("bytes=300-599", 300, 600), ("bytes=-10", 1014, 1024)]
)
async def test_a_part_of_a_body_that_is_still_coming(scene: Scene, asked: str, start: int, stop: int) -> None:
    client = scene.client()
    client.ask(range=asked)
    call = await scene.call()
    assert b"range" not in call.fields
    reply = call.begin(length=1024, cache_control="max-age=60")
    for at in range(0, 1024, 100):
        reply.send(BODY[at : at + 100])
        await scene.settle()
    reply.end()
    await scene.settle()
    (answer,) = client.answers
    assert (answer.status, answer.body, answer.is_whole) == (206, BODY[start:stop], True)
    assert answer["content-range"] == f"bytes {start}-{stop - 1}/1024"
    assert (await scene.get()).body == BODY


async def test_a_part_that_does_not_exist_of_a_body_that_is_still_coming(scene: Scene) -> None:
    client = scene.client()
    client.ask(range="bytes=5000-")
    (await scene.call()).begin(length=1024, cache_control="max-age=60").send(BODY).end()
    await scene.settle()
    assert (client.answers[0].status, client.answers[0]["content-range"]) == (416, "bytes */1024")
    assert (await scene.get()).body == BODY


async def test_a_part_of_a_body_of_unknown_length_is_the_whole(scene: Scene) -> None:
    client = scene.client()
    client.ask(range="bytes=0-1")
    (await scene.call()).begin(cache_control="max-age=60").send(BODY).end()
    await scene.settle()
    assert (client.answers[0].status, client.answers[0].body) == (200, BODY)


async def test_a_body_cut_short_behind_the_part_asked_for(scene: Scene) -> None:
    early, late = scene.client(), scene.client()
    early.ask(range="bytes=0-1")
    late.ask(range="bytes=1000-")
    (await scene.call()).begin(length=1024, cache_control="max-age=60").send(BODY[:500]).cut()
    await scene.settle()
    assert (early.answers[0].status, early.answers[0].body, early.answers[0].is_whole) == (206, BODY[:2], True)
    assert late.transport.is_cut
    assert scene.count("stored") == 0
