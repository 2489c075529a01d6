"""Random rules and requests over a small world, so that rules hold and keys meet often enough to tell something."""

from __future__ import annotations

from hypothesis import strategies as st

from accel.http.message import Fields, Request

HEAD = (
    "acl office { 10.0.0.0/8 }\npool p { servers 127.0.0.1:1 }\npool q { servers 127.0.0.1:2 }\n"
    "split s by cookie.b { old 50%, new 50% }\ndef known = cookie.a exists"
)

CONDITIONS = st.recursive(
    st.sampled_from(
        [
            'path under "/a/"', 'path == "/b"', 'path under ("/a/b/", "/c")', 'path glob "*.c"', 'path in ("/b", "/a")',
            'host == "h1"', 'host in ("h0", "h2")', "cookie.a exists", 'cookie.b == "1"', 'cookie.b != "1"', "known",
            'header.x-a == "1"', "header.x-a exists", "query.q exists", 'query.v == "1"', "client in office",
            'method == "HEAD"', 'split.s == "new"', 'parameter glob "q*"', 'cookie contains "b"',
        ]
    ),
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=3,
)  # fmt: skip
EDITS = st.sampled_from(
    [
        "query drop q", "query keep v", "query sort", "cookies keep none", "cookies keep a", "cookies drop b",
        "key + cookie.a", "key + header.x-a", "key + query.q, client", "key + split.s", 'host canonical "h0"',
        'set header "X-B" "1"', 'set header "X-B" header.x-a', 'add header "X-B" "${cookie.b}${client}"',
        'unset header "X-A"', 'unset header "X-B"', "pool p", "pool q", "seal",
    ]
)  # fmt: skip
VERDICTS = st.sampled_from(['pass "x"', "lookup", 'redirect 302 "/r${path}"', "deny", "pipe"])
STATEMENTS = st.recursive(
    EDITS | VERDICTS,
    lambda inner: st.tuples(CONDITIONS, st.lists(inner, min_size=1, max_size=3), st.lists(inner, max_size=2)).map(
        lambda parts: f"when {parts[0]} {{ {'; '.join(parts[1])} }} else {{ {'; '.join(parts[2])} }}"
    ),
    max_leaves=4,
)
REQUEST_RULES = st.lists(STATEMENTS, max_size=6).map("\n".join)
TABLED_RULES = st.lists(
    st.tuples(CONDITIONS, st.one_of(EDITS, VERDICTS)).map(lambda parts: f"when {parts[0]} {{ {parts[1]} }}")
    | EDITS,
    min_size=6,
    max_size=14,
).map("\n".join)  # fmt: skip

RESPONSE_RULES = st.lists(
    st.tuples(
        st.sampled_from(['status == 200', 'path under "/a/"', "not cookie.a exists", 'type == "text/html"', "known"]),
        st.sampled_from(
            [
                "ttl 1d", "ttl origin else 60s", "ttl heuristic else 1m", "grace 1d", "if-error 1d", "keep 1s",
                "jitter 10%", 'tags "a"', 'set header "X-S" "1"', 'unset header "X-Y"', "pass-memory 1s", 'pass "x"',
            ]
        ),
    ).map(lambda parts: f"when {parts[0]} {{ {parts[1]} }}"),
    max_size=6,
).map("\n".join)  # fmt: skip

REQUESTS = st.builds(
    lambda method, path, query, host, lines, minor: Request(
        method, path + (b"?" + query if query else b""), host, host, minor, Fields(lines)
    ),
    st.sampled_from([b"GET", b"GET", b"HEAD"]),
    st.sampled_from([b"/a", b"/a/b/x", b"/b", b"/c/y.c", b"/"]),
    st.sampled_from([b"", b"q=1", b"v=1&q=2", b"q=2&v=1", b"%71=1&v"]),
    st.sampled_from([b"h0", b"h1", b"h2"]),
    st.lists(
        st.tuples(
            st.sampled_from([b"cookie", b"x-a", b"x-b", b"accept-encoding", b"range", b"via", b"x-forwarded-host"]),
            st.sampled_from([b"1", b"a=1", b"b=1; a=1", b"gzip", b"b=2"]),
        ),
        max_size=4,
    ),
    st.sampled_from([0, 1]),
)
CLIENTS = st.sampled_from(["10.0.0.1", "192.0.2.1", ""])
