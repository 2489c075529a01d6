"""What is done to accel while a checked load goes on: workers killed, configurations reloaded, programs replaced.

Each function does it so many times and returns what it saw; the tests assert on that, tests/bench/under_load.py
prints it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from accel_process import OUTCOMES, Accel
from checked_load import CheckedLoad, Lost
from children import eventually
from programs import in_charge, retire, upgrade

REPLACED_S = 10.0


@dataclass(frozen=True, slots=True)
class Kill:
    """One worker's death."""

    at_mono: float
    held: frozenset[int]
    """The clients' ports of the connections that it held: at most their exchanges may be lost."""
    replaced_s: float
    """Until as many workers accepted as before."""

    def took(self, lost: Lost) -> bool:
        """Whether that is the one exchange that may be lost of a connection which died here."""
        return lost.client_port in self.held and lost.opened_mono <= self.at_mono <= lost.lost_mono


@dataclass(slots=True)
class Killing:
    """What came of killing workers."""

    kills: list[Kill] = field(default_factory=list)

    @property
    def held_count(self) -> int:
        """How many connections the killed held."""
        return sum(len(kill.held) for kill in self.kills)


def client_ports(pid: int, port: int) -> set[int]:
    """Return the client's port of each connection that a process holds on its listening `port`.

    Of one that has not been stopped, some that it opens or closes meanwhile may be missing.
    """
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(link.readlink().name.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if inode in inodes and int(local[9:], 16) == port and int(remote[9:], 16):
            found.add(int(remote[9:], 16))
    return found


def kill_workers(accel: Accel, load: CheckedLoad, kills: int, period_s: float, seed: int = 1) -> Killing:
    """Kill a random worker each period, and wait for its replacement."""
    chance, found = random.Random(seed), Killing()
    for _ in range(kills):
        began = time.monotonic()
        kill_one(accel, chance, found)
        load.wait_more(100)
        time.sleep(max(0.0, began + period_s - time.monotonic()))
    return found


def kill_one(accel: Accel, chance: random.Random, found: Killing) -> None:
    """Kill a random worker and wait for its replacement; add to what was found."""
    pids = accel.accepting_pids()
    victim = chance.choice(pids)
    os.kill(victim, signal.SIGSTOP)  # so that what it holds now is what dies with it
    eventually("it stands still", lambda: is_stopped(victim))
    held, at_mono = frozenset(client_ports(victim, accel.port)), time.monotonic()
    os.kill(victim, signal.SIGKILL)
    found.kills.append(Kill(at_mono, held, seconds_to_replace(accel, victim, len(pids))))


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process has stopped: a signal takes a moment."""
    stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def storm(accel: Accel, load: CheckedLoad, turns: int, seed: int = 1) -> Killing:
    """Kill a worker, reload, or upgrade, at random; between an upgrade's two programs, kill and reload all the same."""
    chance, found = random.Random(seed), Killing()
    for _ in range(turns):
        match chance.choice(["kill", "reload", "upgrade"]):
            case "kill":
                kill_one(accel, chance, found)
            case "reload":
                reload_often(accel, load, 1, 0)
            case "upgrade":
                old = in_charge(accel)
                upgrade(accel)
                kill_one(accel, chance, found)
                retire(accel, old)
        load.wait_more(50)
    return found


def seconds_to_replace(accel: Accel, victim: int, count: int) -> float:
    """Return how long it takes until `count` workers accept without the victim, which has just been killed."""
    killed = time.monotonic()
    eventually("a replacement", lambda: is_replaced(accel, victim, count), REPLACED_S)
    return time.monotonic() - killed


def wrongly_lost(load: CheckedLoad, killing: Killing) -> list[Lost]:
    """Return the exchanges that were lost, but not on a connection of a killed worker."""
    return [lost for lost in load.seen.lost if not any(kill.took(lost) for kill in killing.kills)]


def is_replaced(accel: Accel, victim: int, count: int) -> bool:
    """Whether so many workers accept, none of them the victim."""
    pids = accel.accepting_pids()
    return victim not in pids and len(pids) == count


def reload_often(accel: Accel, load: CheckedLoad, times: int, answers_between: int) -> None:
    """HUP so many times, each when the one before has been obeyed and so many answers came."""
    for _ in range(times):
        wanted = generation(accel) + 1
        os.kill(in_charge(accel), signal.SIGHUP)
        eventually("the reload", functools.partial(is_reloaded, accel, wanted))
        load.wait_more(answers_between)


def generation(accel: Accel) -> int:
    """Return how often the configuration was read."""
    return int(accel.admin("GET", "/facts")["generation"])


def is_reloaded(accel: Accel, wanted: int) -> bool:
    """Whether it was read so often."""
    return generation(accel) >= wanted


def upgrade_often(accel: Accel, load: CheckedLoad, times: int, answers_between: int) -> None:
    """USR2, then QUIT to the old program, so many times, with so many answers by both and by the new one alone."""
    for _ in range(times):
        old = in_charge(accel)
        upgrade(accel)
        load.wait_more(answers_between)
        retire(accel, old)
        load.wait_more(answers_between)


def miscounted(accel: Accel) -> int:
    """Return by how much the outcomes do not add up to the requests."""
    counted = accel.admin("GET", "/stat")
    return int(counted["requests"]) - sum(int(counted[name]) for name in OUTCOMES)


def left_in_store(accel: Accel) -> list[str]:
    """Return what is wrong with the store when nobody asks any more: faults, and pins after a moment."""
    eventually("no pins", lambda: accel.admin("GET", "/store")["pins"] == 0)
    return list(accel.admin("GET", "/store/check")["faults"])
