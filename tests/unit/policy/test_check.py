"""What the checker makes of a file that will do."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from broken_files import missing, preset

from accel.config import Balance
from accel.policy.check import check
from accel.policy.checked import Checked
from accel.policy.parser import parse
from accel.policy.problems import PolicyError
from accel.policy.vocabulary import Phase


def checked(text: str, files: dict[str, str] | None = None) -> Checked:
    """Return a checked policy with these parts."""
    read = missing if files is None else files.__getitem__
    return check(parse(f"policy 1\n{text}", "x.policy"), preset, read)


def messages(text: str, files: dict[str, str] | None = None) -> list[str]:
    """Return what is said about these parts."""
    with pytest.raises(PolicyError) as raised:
        checked(text, files)
    return [problem.what for problem in raised.value.problems]


def test_a_pool_is_the_programs_options_with_its_settings() -> None:
    (plan,) = checked(
        "pool app {\n servers 127.0.0.1:8001-8002, unix:/run/a.sock*3; backup 10.0.0.9:80; balance least-conn\n"
        " probe GET /healthz every 5s timeout 2s rise 1 fall 4 slow-start 1m\n limit 32 per server, queue 8 for 3s\n"
        ' retry at most 5%; timeout connect 2s, whole 1m; keep-alive 8 for 10s; host "App.Internal:80"\n}'
    ).pools.values()

    assert [str(backend.address) for backend in plan.origin.backends] == [
        "127.0.0.1:8001", "127.0.0.1:8002", "unix:/run/a.sock",
    ]  # fmt: skip
    assert [backend.weight for backend in plan.origin.backends] == [1, 1, 3]
    assert [str(backend.address) for backend in plan.backups] == ["10.0.0.9:80"]
    assert plan.origin.balance is Balance.LEAST_CONN
    assert (plan.probe.path, plan.probe.interval_s, plan.probe.timeout_s) == ("/healthz", 5, 2)
    assert (plan.probe.rise, plan.probe.fall, plan.probe.slow_start_s) == (1, 4, 60)
    assert (plan.origin.max_connections, plan.origin.queue_length, plan.origin.queue_s) == (32, 8, 3)
    assert plan.origin.retry_share == 0.05
    assert (plan.origin.timeouts.connect_s, plan.origin.timeouts.first_byte_s) == (2, 15)
    assert plan.origin.timeouts.whole_s == 60
    assert (plan.origin.keep_alive_connections, plan.origin.keep_alive_s) == (8, 10)
    assert plan.host == "app.internal"


def test_who_may_purge_and_how() -> None:
    purge = checked("acl a { 10.0.0.0/8 }\npurge { allow a, ::1; methods PURGE, BAN; mode soft }").purge

    assert purge.allow == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    assert (purge.methods, purge.is_soft) == ({"PURGE", "BAN"}, True)


def test_without_a_purge_block_the_command_line_says_who() -> None:
    assert checked("request { lookup }").purge.allow is None


def test_a_list_from_a_file_is_its_lines_without_comments() -> None:
    found = checked('list bots from "bots.txt"', {"bots.txt": "# robots\n *bot* \n\n*spider*\n*bot*\n"})

    assert found.lists["bots"] == ("*bot*", "*spider*")


def test_a_synthetic_answers_file_is_read() -> None:
    assert checked('error { synth 503 from "sorry.html" }', {"sorry.html": "sörry"}).texts == {
        "sorry.html": "sörry".encode()
    }


def test_what_each_phase_reads_is_known() -> None:
    reads = checked(
        "def known = cookie.sid exists\nsplit arm by cookie.visitor { a 50%, b 50% }\n"
        'request {\n when known and header.X-A == "1" { pass }\n key + split.arm, query.q\n query sort\n'
        ' limit 1/s per client else synth 429 "${host}"\n set header "X" "${header.Via}"\n}\n'
        'response { tags from "X-Tags"; when status == 200 { ttl 1m } }'
    ).reads

    assert reads[Phase.REQUEST] == {
        "cookie.sid", "header.x-a", "cookie.visitor", "query.q", "parameter", "client", "host", "header.via",
    }  # fmt: skip
    assert reads[Phase.RESPONSE] == {"response.x-tags", "status"}
    assert reads[Phase.DELIVER] == frozenset()


def test_a_seal_anywhere_seals() -> None:
    assert checked('request { when path == "/a" { seal } }').is_sealed
    assert not checked("request { lookup }").is_sealed


def test_hosts_are_in_key_form() -> None:
    assert checked("site Shop.Example.org:80, *.example.org, [::1]:8080").hosts == (
        "shop.example.org", "*.example.org", "[::1]:8080",
    )  # fmt: skip


def test_what_is_unused_is_no_mistake() -> None:
    assert checked('list a { "x" }\nacl b { ::1 }\ndef c = path == "/"\npool d { servers 127.0.0.1:1 }').lists


def test_definitions_that_use_each_other_are_no_circle() -> None:
    assert checked("def c = a and b\ndef b = a\ndef a = cookie.x exists\nrequest { when c { pass } }").defs.keys() == {
        "a", "b", "c",
    }  # fmt: skip


def test_definitions_may_not_grow_without_measure() -> None:
    doubling = "\n".join(f"def d{n} = d{n - 1} and d{n - 1}" for n in range(1, 40))

    assert messages(f"def d0 = cookie.a exists\n{doubling}")[0] == "the definition of d10 comes to 1024 comparisons"


def test_a_long_chain_of_definitions_is_a_problem_and_no_crash() -> None:
    chain = "\n".join(f"def d{n} = not d{n - 1}" for n in range(1, 2000))

    assert "definitions" in messages(f"def d0 = cookie.a exists\n{chain}\nrequest {{ when d1999 {{ pass }} }}")[0]


def test_rules_of_a_file_are_not_judged_by_those_of_its_presets() -> None:
    text = 'policy 1\nrequest { when path under "/a/" { pass } }'
    own = parse('policy 1\nuse "p"\nrequest { when path under "/a/b/" { lookup } }', "x.policy")

    found = check(own, lambda name: parse(text, "p"), missing)

    assert len(found.phases[Phase.REQUEST]) == 2


@pytest.mark.parametrize(
    "text",
    [
        'when path under "/a/" { query sort }\nwhen path under "/a/b/" { lookup }',
        'when path under "/a/" { when method == "GET" { lookup } }\nwhen path under "/a/b/" { lookup }',
        'when path under "/a" { lookup }\nwhen path == "/ab" { lookup }',
        'when path glob "/a/*" { lookup }\nwhen path under "/a/" { pass }',
        'when path glob "*.css" { lookup }\nwhen path glob "/a/*" { pass }',
        'when cookie glob "a*" and cookie glob "b*" { pass }',
        'when not cookie.a exists { lookup }\nwhen cookie.a == "1" { pass }',
        'when cookie.a != "1" and cookie.b != "1" { pass }',
        'when query.a != "1" or query.a != "2" { pass }',
        "when client in 10.0.0.0/8 { pass }\nwhen client in 0.0.0.0/0 { lookup }",
        'when header.a matches "x" { pass }\nwhen header.a matches "xy" { lookup }',
        'when path == "/a" { pool default }\nelse when path == "/b" { lookup }\nwhen path == "/a" { pass }',
        'pool default\nwhen path == "/a" { lookup }\npool default',
        'when path == "/a" and query.old exists { redirect 301 "/a" }',
        'when path == "/a" { lookup } else { when path == "/b" { pass } }\nwhen path == "/c" { pass }',
    ],
)
def test_what_can_be_reached_is_not_complained_of(text: str) -> None:
    assert checked(f"request {{\n{text}\n}}").phases[Phase.REQUEST]


@pytest.mark.parametrize(
    "text",
    [
        'when path under "/a/" { pass }\nwhen path glob "/a/*.css" { lookup }',
        'when path glob "*.css" { pass }\nwhen path glob "/a/*.css" { lookup }',
        'when cookie.a exists { pass }\nwhen cookie.a == "1" and path == "/" { lookup }',
        "when client in 10.0.0.0/8 { pass }\nwhen client == 10.1.2.3 { lookup }",
        'when path == "/a" or path == "/b" { pass }\nwhen path == "/b" { lookup }',
        'when path in ("/a", "/b") { pass }\nwhen path == "/b" and method == "GET" { lookup }',
        'when not path under "/a/" { pass }\nwhen path under "/b/" { lookup }',
        'when path under "/" { pass }\nwhen path == "/" { lookup }',
        'when path under ("/x", "/a") { pass }\nwhen path == "/a/b" or path == "/a/c" { lookup }',
        'when path under "/a" { pass }\nwhen method == "GET" { when path under "/a/b/c/" { lookup } }',
        'when cookie glob "*" { pass }\nwhen cookie glob ("a*", "b*") { lookup }',
    ],
)
def test_a_rule_that_an_earlier_one_takes_is_found(text: str) -> None:
    assert any("never reached" in what for what in messages(f"request {{\n{text}\n}}"))


def test_long_lists_are_compared_without_going_through_all_pairs() -> None:
    lines = "\n".join(f"/page-{number}/*" for number in range(50_000))
    rules = "\n".join(f"when path {word} @{name} {{ pass }}" for word in ("in", "glob", "under") for name in "ab")

    found = checked(f'list a from "a"\nlist b from "b"\nrequest {{\n{rules}\n}}', {"a": lines, "b": f"{lines}\n/x/*"})

    assert (len(found.lists["a"]), len(found.lists["b"])) == (50_000, 50_001)
