"""New policies in running processes: switched between two requests, refused when wrong, and taken back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from accel_process import StartAccel
from children import eventually
from fault_origin import FaultOrigin, StartFaultOrigin, reply
from http_clients import Load, ask, clients_of_every_worker
from policy_files import Policies, accelctl, accelctl_json, reload
from programs import begin_upgrade, retire, stop, upgrade, wait_alone

pytestmark = pytest.mark.scene


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """Return an empty directory of policies."""
    return Policies(tmp_path / "policies")


@pytest.fixture
def origin(start_fault_origin: StartFaultOrigin) -> FaultOrigin:
    """Return an origin with one page."""
    origin = start_fault_origin()
    origin.on("/page", reply(b"page"))
    return origin


def marked(turn: int, server: str) -> str:
    """Return a policy whose answers say which one it is, with enough rules that compiling them takes a while."""
    rules = "\n".join(f'  when path under "/area{number}/" {{ pass "{turn}" }}' for number in range(60))
    deliver = f'deliver {{ set header "X-Policy" "{turn}" }}'
    return f"pool app {{ servers {server} }}\nrequest {{\n{rules}\n}}\nresponse {{ ttl 10m }}\n{deliver}"


def test_reloads_under_load_switch_every_worker_and_fail_nobody(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", marked(0, origin.backend))
    accel = start_accel([], "--policy", str(path))

    with Load(accel.port, ["/page", "/area1/page", "/page"]) as load, clients_of_every_worker(accel) as clients:
        for turn in range(1, 9):
            policies.write("a", marked(turn, origin.backend))
            reload(accel)
            eventually(
                "every worker has the new policy",
                lambda said=str(turn): all(c.ask("/page").fields["x-policy"] == said for c in clients),
            )
            load.wait_more(50)

    assert load.failures == []
    assert set(load.statuses) <= {200, 404}
    assert load.reconnects == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("request { whenn }", "a.policy:2:"),
        ('test "never" { get "/page" -> pass }', "FAIL  never"),
    ],
)
def test_a_broken_policy_leaves_the_old_one_in_force_and_says_why(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies, broken: str, said: str
) -> None:
    path = policies.write("a", 'request { pass "good" }')
    accel = start_accel([origin.backend], "--policy", str(path))
    policies.write("a", broken)

    refused = accelctl(accel, "reload")
    accel.send(signal.SIGHUP)
    eventually("the log says it too", lambda: accel.log.count(" reload-refused ") == 2)

    assert refused.returncode == 1
    assert said in refused.stderr and "the running configuration stays" in refused.stderr
    assert " policy-problem what=" in accel.log and "a.policy:2" in accel.log
    assert "fwd=bypass" in ask(accel, "/page").cache_status
    assert accel.admin("GET", "/policies")["version"] == 1


def test_a_rollback_returns_everywhere_to_the_version_before(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", marked(1, origin.backend))
    accel = start_accel([], "--policy", str(path))
    policies.write("a", marked(2, origin.backend))
    reload(accel)

    done = accelctl(accel, "reload", "--rollback")
    again = accelctl(accel, "reload", "--rollback")

    assert done.stdout == "returned to version 1 of the policies\n"
    assert again.returncode == 1 and "no earlier version" in again.stderr
    with clients_of_every_worker(accel) as clients:
        eventually("all are back", lambda: all(c.ask("/page").fields["x-policy"] == "1" for c in clients))
    (file,) = accelctl_json(accel, "policies")["files"]
    assert (file["file"], file["rules"], file["pools"]) == (str(path), 62, ["app"])


def test_of_a_directory_a_site_that_breaks_keeps_its_last_good_version(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    policies.write("a", 'site a.example\nrequest { pass "A" }')
    policies.write("b", 'site b.example\nrequest { pass "B" }')
    accel = start_accel([origin.backend], "--policy", str(policies.directory), workers=1)
    policies.write("a", "site a.example\nrequest { whenn }")
    policies.write("b", 'site b.example\nrequest { deny 410 "gone" }')

    ran = accelctl(accel, "reload")

    assert ran.returncode == 1 and "a.policy:3:" in ran.stderr and "^" in ran.stderr
    eventually("b has changed", lambda: ask(accel, "/page", host="b.example").status == 410)
    assert "fwd=bypass" in ask(accel, "/page", host="a.example").cache_status
    kept = {Path(file["file"]).stem: file["is_last_good"] for file in accelctl_json(accel, "policies")["files"]}
    assert kept == {"a": True, "b": False}


def test_a_worker_that_is_forked_later_has_the_policy_of_the_last_reload(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", marked(1, origin.backend))
    accel = start_accel([], "--policy", str(path), workers=1)
    policies.write("a", marked(2, origin.backend))
    reload(accel)
    (pid,) = accel.worker_pids()

    os.kill(pid, signal.SIGKILL)
    eventually("it is replaced", lambda: accel.accepting_pids() not in ([], [pid]))

    assert ask(accel, "/page").fields["x-policy"] == "2"


def test_explain_says_what_a_running_accel_would_do(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    rules = 'request {\n  when cookie.session exists { pass "known" }\n}\nresponse { ttl 10m; tags "page" }'
    path = policies.write("a", rules)
    accel = start_accel([origin.backend], "--policy", str(path))
    ask(accel, "/page", host="shop.example")
    url = "http://shop.example/page"

    hit = accelctl_json(accel, "explain", url)
    passed = accelctl(accel, "explain", url, "-H", "Cookie: session=1; theme=dark", "--from", "203.0.113.7")
    asked = ask(accel, "/page", host="shop.example", cookie="session=1", accel_explain="1")

    assert (hit["outcome"], hit["stored"]["tags"], hit["nearest"]) == ("hit", ["page"], None)
    assert 0 < hit["stored"]["remaining_s"] <= 600
    assert f"pass, known ({path}:3)" in passed.stdout
    assert 'when cookie.session exists { pass "known" }' in passed.stdout
    assert f"the cookie session makes rule {path}:3 pass it: without it, a hit" in passed.stdout
    assert f'rule="{path}:3"' in asked.fields["accel-explain"]
    assert len(origin.asked("/page")) == 2, "explaining fetches nothing"


def test_an_upgrade_reads_the_policies_again_and_fails_if_one_is_wrong(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    policies.write("a", 'site a.example\nrequest { pass "A" }')
    policies.write("b", 'site b.example\nrequest { pass "B" }')
    accel = start_accel([origin.backend], "--policy", str(policies.directory), workers=1)
    accel.expects_dump = True
    policies.write("a", "site a.example\nrequest { whenn }")

    new = begin_upgrade(accel)
    accel.child.wait_for(f" upgrade-failed pid={new}")
    wait_alone(accel)
    assert "fwd=bypass" in ask(accel, "/page", host="a.example").cache_status
    policies.write("a", 'site a.example\nrequest { deny 410 "gone" }')
    upgrade(accel)
    retire(accel, accel.child.pid)

    assert ask(accel, "/page", host="a.example").status == 410
    stop(accel)
