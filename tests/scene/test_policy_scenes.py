"""Policies in real processes: what the rules say at the start, pools of their own, several sites."""

from __future__ import annotations

from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import SOON_S
from fault_origin import StartFaultOrigin, reply
from http_clients import ask, clients_of_every_worker
from policy_files import Policies

pytestmark = pytest.mark.scene


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """Return an empty directory of policies."""
    return Policies(tmp_path / "policies")


def test_a_policy_decides_from_the_first_request_on(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    origin = start_fault_origin()
    origin.on("/page", reply(b"page"))
    path = policies.write(
        "shop",
        f"""
pool app {{ servers {origin.backend} }}
request {{
  query drop "utm_*"
  when cookie.session exists {{ pass "known" }}
  when path == "/old" {{ redirect 301 "/page" }}
}}
response {{ ttl 10m }}
test "strangers share" {{ get "/page?utm_source=a" -> miss
                          get "/page" -> hit }}
""",
    )
    accel = start_accel([], "--policy", str(path))

    with clients_of_every_worker(accel) as clients:
        assert not clients[0].ask("/page?utm_source=a").is_hit
        assert all(client.ask("/page").is_hit for client in clients)
        assert "fwd=bypass" in clients[0].ask("/page", cookie="session=1").cache_status
        moved = clients[0].ask("/old")

    assert (moved.status, moved.fields["location"]) == (301, "/page")
    assert " policy file=" in accel.log


def test_a_wrong_policy_is_exit_code_2_with_every_problem(tmp_path: Path, policies: Policies) -> None:
    path = policies.write("shop", "request { pas }\nresponse { ttl 5x }")
    accel = Accel(tmp_path, ["127.0.0.1:9"], "--policy", str(path))
    try:
        assert accel.child.wait(SOON_S) == 2
        assert f"{path}:2:11" in accel.log and f"{path}:3:" in accel.log
        assert "^" in accel.log and "Traceback" not in accel.log
    finally:
        accel.end()


def test_of_a_directory_one_broken_site_is_refused_alone(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    origin = start_fault_origin()
    origin.on("/", reply(b"page"))
    policies.write("a", 'site a.example\nrequest { pass "A" }')
    policies.write("b", "site b.example\nrequest { whenn }")
    policies.write("others", "response { ttl 10m }")

    accel = start_accel([origin.backend], "--policy", str(policies.directory))

    assert "fwd=bypass" in ask(accel, "/", host="a.example").cache_status
    for host in ("b.example", "elsewhere.example"):
        ask(accel, "/", host=host)
        assert ask(accel, "/", host=host).is_hit
    assert "policy-problem" in accel.log and "b.policy:3:" in accel.log


def test_rules_choose_among_pools(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    first, second, given = (start_fault_origin() for _ in range(3))
    for origin in (first, second, given):
        for target in ("/", "/api/x", "/given"):
            origin.on(target, reply(b"page", "Cache-Control: no-store"))
    path = policies.write(
        "a",
        f"""
pool web {{ servers {first.backend} }}
pool api {{ servers {second.backend}; host "api.internal" }}
request {{
  when path under "/api/" {{ pool api }}
  when path == "/given" {{ pool default }}
}}
""",
    )
    accel = start_accel([given.backend], "--policy", str(path))

    with clients_of_every_worker(accel) as clients:
        for client in clients:
            assert client.ask("/").fields["x-origin"] == str(first.port)
            assert client.ask("/api/x").fields["x-origin"] == str(second.port)
            assert client.ask("/given").fields["x-origin"] == str(given.port)

    assert {seen.fields["host"] for seen in second.asked("/api/x")} == {"api.internal"}
    assert accel.backends()[second.backend]["pools"] == [f"{path}:api"]


def test_a_pools_probe_takes_a_server_out_and_a_backup_takes_over_until_it_is_well(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    server, backup = start_fault_origin(), start_fault_origin()
    for origin in (server, backup):
        origin.on("/", reply(b"page", "Cache-Control: no-store"))
        origin.on("/up", reply(b"well"))
    path = policies.write(
        "a",
        f"""
pool app {{
  servers {server.backend}
  backup {backup.backend}
  probe GET /up every 50ms timeout 1s rise 1 fall 1 slow-start 1ms
  host "app.internal"
}}
""",
    )
    accel = start_accel([], "--policy", str(path))
    assert ask(accel, "/").fields["x-origin"] == str(server.port)

    server.on("/up", reply(b"ill", status=503))
    accel.wait_backend(server.backend, "down")
    assert ask(accel, "/").fields["x-origin"] == str(backup.port)
    server.on("/up", reply(b"well"))
    accel.wait_backend(server.backend, "up")

    assert ask(accel, "/").fields["x-origin"] == str(server.port)
    assert server.asked("/up")[0].fields["host"] == "app.internal"


def test_another_pool_is_asked_when_none_of_the_first_answers(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    first, spare = start_fault_origin(), start_fault_origin()
    spare.on("/", reply(b"page"))
    text = """
pool main {{ servers {0} }}
pool spare {{ servers {1} }}
response {{ ttl 10m }}
error {{ retry pool spare }}
"""
    path = policies.write("a", text.format(first.backend, spare.backend))
    accel = start_accel([], "--policy", str(path))
    first.stop()

    answers = [ask(accel, "/") for _ in range(3)]

    assert [answer.fields["x-origin"] for answer in answers] == [str(spare.port)] * 3
    assert answers[-1].is_hit


def test_pools_of_two_sites_with_one_name_are_two_pools(
    start_accel: StartAccel, start_fault_origin: StartFaultOrigin, policies: Policies
) -> None:
    origins = {name: start_fault_origin() for name in ("a", "b")}
    for name, origin in origins.items():
        origin.on("/", reply(b"page"))
        policies.write(name, f"site {name}.example\npool app {{ servers {origin.backend} }}")
    accel = start_accel([], "--policy", str(policies.directory))

    for name, origin in origins.items():
        assert ask(accel, "/", host=f"{name}.example").fields["x-origin"] == str(origin.port)
    assert ask(accel, "/", host="c.example").status == 503, "nobody is there for other hosts"
