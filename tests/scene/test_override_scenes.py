"""What passes the safety floor is counted by its reason: over all workers, their deaths, and new rules."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, StartFaultOrigin, reply
from http_clients import clients_of_every_worker
from policy_files import Policies, accelctl, accelctl_json, reload
from prometheus_client.openmetrics.parser import text_string_to_metric_families

pytestmark = pytest.mark.scene

THEME = 'when path under "/asset" { override set-cookie drop reason "theme" }'
SHARED = 'when path under "/page" { override private reason "one site" }'
REWORDED = 'when path under "/page" { override private reason "nobody logs in" }'

_turns = count()


@pytest.fixture
def origin(start_fault_origin: StartFaultOrigin) -> FaultOrigin:
    """Return an origin whose assets set a cookie and whose pages are private; each query is one of its own."""
    origin = start_fault_origin()
    origin.on("/asset", reply(b"asset", "Set-Cookie: t=1"))
    origin.on("/page", reply(b"page", "Cache-Control: private"))
    origin.on("/plain", reply(b"plain"))
    return origin


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """Return an empty directory of policies."""
    return Policies(tmp_path / "policies")


def rules(*statements: str, mark: str = "1") -> str:
    """Return a policy that stores everything, with these statements a line each, and answers that say its mark."""
    response = "response {\n  ttl 10m\n  " + "\n  ".join(statements) + "\n}"
    return f'{response}\ndeliver {{ set header "X-Policy" "{mark}" }}'


def wait_in_force(accel: Accel, mark: str) -> None:
    """Wait until every worker has the policy of this mark."""
    with clients_of_every_worker(accel) as clients:
        eventually(mark, lambda: all(client.ask("/warm").fields["x-policy"] == mark for client in clients))


def asked(accel: Accel, path: str) -> int:
    """Miss once on each of many connections, some at every worker; return how often."""
    with clients_of_every_worker(accel) as clients:
        answers = [client.ask(f"{path}?{next(_turns)}") for client in clients]
    assert not any(answer.is_hit for answer in answers)
    return len(answers)


def uses(accel: Accel) -> dict[str, int]:
    """Return the uses by reason; fails unless their sum is the counter's, and a scraper is told the same."""
    facts = accel.admin("GET", "/overrides")
    assert facts["total"] == accel.counter("overridden")
    assert facts["total"] == facts["others"] + sum(one["uses"] for one in facts["overrides"])
    found = {one["reason"]: one["uses"] for one in facts["overrides"]}
    assert scraped_uses(accel) == found | {"other": facts["others"]}
    return found


def scraped_uses(accel: Accel) -> dict[str, float]:
    """Return the uses by reason as Prometheus reads them."""
    families = {family.name: family for family in text_string_to_metric_families(accel.metrics())}
    return {sample.labels["reason"]: sample.value for sample in families["accel_override_uses"].samples}


@contextlib.contextmanager
def killing(accel: Accel, at: int) -> Iterator[None]:
    """Kill one worker, and wait until another has its place."""
    pid = accel.worker_pids()[at]
    os.kill(pid, signal.SIGKILL)
    yield
    eventually("it is replaced", lambda: len(pids := accel.accepting_pids()) == 2 and pid not in pids)


def test_uses_are_exact_over_killed_workers_and_reloads(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", rules(THEME, SHARED))
    accel = start_accel([origin.backend], "--policy", str(path))
    assets, pages = asked(accel, "/asset"), asked(accel, "/page")
    asked(accel, "/plain")
    assert uses(accel) == {"theme": assets, "one site": pages}

    for at in (0, 1):
        with killing(accel, at):
            assert uses(accel) == {"theme": assets, "one site": pages}
        assets += asked(accel, "/asset")
    policies.write("a", rules(REWORDED, "", THEME, mark="2"))
    reload(accel)
    wait_in_force(accel, "2")
    with killing(accel, 0):
        pass
    assets, reworded = assets + asked(accel, "/asset"), asked(accel, "/page")
    assert uses(accel) == {"theme": assets, "one site": pages, "nobody logs in": reworded}

    reload(accel, rollback=True)
    wait_in_force(accel, "1")
    assets, pages = assets + asked(accel, "/asset"), pages + asked(accel, "/page")
    assert uses(accel) == {"theme": assets, "one site": pages, "nobody logs in": reworded}
    assert assets == len(origin.asked("/asset"))


def test_of_fetches_that_a_kill_cuts_none_is_counted_twice(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", rules(THEME))
    accel = start_accel([origin.backend], "--policy", str(path))
    answered = 0

    for at in (0, 1, 0, 1):
        with clients_of_every_worker(accel) as clients, killing(accel, at):
            for client in clients:
                with contextlib.suppress(ConnectionError, http.client.HTTPException):
                    client.begin(f"/asset?{next(_turns)}")
            for client in clients:
                with contextlib.suppress(ConnectionError, http.client.HTTPException):
                    answered += client.answer().status == 200

    assert answered <= uses(accel)["theme"] <= len(origin.asked("/asset"))


def test_overrides_are_listed_with_their_uses(
    start_accel: StartAccel, origin: FaultOrigin, policies: Policies
) -> None:
    path = policies.write("a", rules(THEME, SHARED))
    accel = start_accel([origin.backend], "--policy", str(path))
    assets = asked(accel, "/asset")

    (file,) = accelctl_json(accel, "policies")["files"]
    listed = accelctl(accel, "overrides").stdout.splitlines()

    line = {"what": "set-cookie", "reason": "theme", "rules": [f"{path}:4"], "uses": assets}
    assert file["overrides"][0] == line
    assert f"({path}:4), used {assets} times" in accelctl(accel, "policies").stdout
    assert listed[0].split(maxsplit=1) == [str(assets), f"set-cookie: theme ({path}:4)"]
    assert listed[1].split(maxsplit=1) == ["0", f"private: one site ({path}:5)"]
