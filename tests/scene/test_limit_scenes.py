"""Rate limits in real processes: one bucket of all workers, which outlives them and a reload."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from accel_process import StartAccel
from children import eventually
from http_clients import Client, ask, clients_of_every_worker
from policy_files import Policies, reload

pytestmark = pytest.mark.scene
BURST = 20
RULES = f"""
request {{
  when path == "/warm" {{ synth 200 "warm" }}
  limit 1/h per client burst {BURST} else synth 429 "slow down"
  synth 200 "in"
}}
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """Return a policy that grants each client twenty requests, and one an hour after that."""
    return Policies(tmp_path / "policies").write("limits", RULES)


def ask_all(clients: list[Client], each: int) -> Counter[int]:
    """Ask on all connections at once, so often; return the answers' statuses."""
    statuses: Counter[int] = Counter()
    for _ in range(each):
        for client in clients:
            client.begin("/")
        statuses.update(client.answer().status for client in clients)
    return statuses


def test_all_workers_together_grant_exactly_the_burst(start_accel: StartAccel, policy: Path) -> None:
    accel = start_accel(["127.0.0.1:9"], "--policy", str(policy), workers=4)

    with clients_of_every_worker(accel) as clients:
        statuses = ask_all(clients, each=4)
        refused = clients[0].ask("/")

    assert statuses[200] == BURST
    assert statuses[200] + statuses[429] == 4 * len(clients)
    assert (refused.status, refused.body) == (429, b"slow down")
    assert 3500 < int(refused.fields["retry-after"]) <= 3600
    assert accel.counter("limited") == statuses[429] + 1


def test_what_was_granted_counts_when_workers_are_killed_and_rules_reloaded(
    start_accel: StartAccel, policy: Path
) -> None:
    accel = start_accel(["127.0.0.1:9"], "--policy", str(policy))
    with clients_of_every_worker(accel) as clients:
        before = ask_all(clients, each=2)
    killed = accel.worker_pids()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    eventually("others serve", lambda: len(set(accel.accepting_pids()) - set(killed)) == len(killed))
    reload(accel)

    assert before[200] == BURST
    assert [ask(accel, "/").status for _ in range(3)] == [429] * 3
