"""Rate limits in real processes: one bucket of all workers, which outlives them, a reload and an upgrade in place."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from accel_process import StartAccel
from children import eventually
from http_clients import Client, ask, clients_of_every_worker, several_clients
from policy_files import Policies, reload
from programs import in_charge, retire, stop, upgrade

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


def test_what_was_granted_counts_when_other_lines_of_the_file_change(start_accel: StartAccel, policy: Path) -> None:
    accel = start_accel(["127.0.0.1:9"], "--policy", str(policy))
    with several_clients(accel, 1) as clients:
        before = ask_all(clients, each=BURST)
        policy.write_text(policy.read_text().replace("request {", "# another line\nrequest {\n  query sort"))
        reload(accel)
        after = ask_all(clients, each=3)

    assert (before, after) == ({200: BURST}, {429: 3})


@pytest.mark.parametrize("flags", [(), ("--store-kind", "private")], ids=["shared", "private"])
def test_a_burst_is_granted_once_by_a_program_and_the_one_that_takes_over(
    flags: tuple[str, ...], start_accel: StartAccel, policy: Path
) -> None:
    accel = start_accel(["127.0.0.1:9"], "--policy", str(policy), *flags)
    old = in_charge(accel)

    with several_clients(accel, 1) as of_the_old:
        spent = ask_all(of_the_old, each=BURST - 6)
        upgrade(accel)
        together = ask_all(of_the_old, each=3)
        with clients_of_every_worker(accel) as clients:
            together += ask_all(clients + of_the_old, each=4)
        retire(accel, old)
    second = in_charge(accel)
    upgrade(accel)
    retire(accel, second)
    alone = [ask(accel, "/").status for _ in range(4)]

    assert spent == {200: BURST - 6}
    assert (together[200], alone) == (6, [429] * 4)
    assert "limits-cold" not in accel.log
    stop(accel)
