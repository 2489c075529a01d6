"""The rounds: every server does every work in turns, and each answer, hit and fetch is accounted for.

Owns the running servers and the origin. A run ends with `Wrong` at the first answer that is not as it must be, and when
the origin was asked once too often or too seldom: then the figures would be of something else.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from side.pacing import CONNECTIONS, Paced, Rates, tried
from side.peers import Peer, Place
from side.processes import LOAD_CORES, SERVER_CORES, Process, free_port
from side.works import WORKS, Way, Work

PACED = WORKS["paced"]
SMOKE_RATE = 2000.0
WARM_REQUESTS = 2000
WARM_FETCHES = 200
PASSES = 3
"""So often is each of many URLs asked for before: stored, looked up, and found as often as it will be."""
NUMBERS_A_RUN = 10_000_000
"""Each run's numbers begin so far after the last one's, so nobody asks twice for what must be new."""


class Wrong(Exception):
    """An answer or a count was not as it must be."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is asked in one measurement."""

    seconds: float = 2.0
    requests: int = 0
    """Instead of seconds, if not 0."""
    idle: int = 20_000

    @property
    def spelled(self) -> str:
        """As the load generator reads it."""
        return f"n:{self.requests}" if self.requests else f"s:{self.seconds}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement of one server saw."""

    cost: float
    """Microseconds of CPU a request; of an idle connection KiB; where requests are paced the p99 in microseconds."""
    per_second: float
    p50_us: float
    p99_us: float
    busy: float = 0.0
    """Where requests are paced: the server's CPU, as a share of one core."""
    counts: bool = True
    """False where the generator fell behind: then the times are not the server's."""


@dataclass(slots=True)
class Server:
    """A peer that runs."""

    peer: Peer
    process: Process
    port: int


class Bench:
    """The servers before one origin."""

    def __init__(self, stack: ExitStack, directory: Path, programs: dict[str, Path], amount: Amount) -> None:
        """Start the origin; servers start when their first work comes, and end with `stack`."""
        self._stack, self._directory, self._programs, self._amount = stack, directory, programs, amount
        self._numbers = count(0, NUMBERS_A_RUN)
        self._names = count()
        self._servers: dict[str, Server] = {}
        self._rates = Rates(self._cost_us, partial(self._at_rate, "limit"))
        self.origin = free_port()
        origin = Process([str(programs["server"]), str(self.origin)], LOAD_CORES, directory / "origin.log")
        stack.callback(origin.end)
        origin.wait_for(self.origin)

    def start(self, peers: list[Peer]) -> None:
        """Start servers, all at once."""
        new = [self._started(self._stack, peer) for peer in {peer.name: peer for peer in peers}.values()]
        for server in new:
            server.process.wait_for(server.port)
            self._servers[server.peer.name] = server

    def limits(self) -> str:
        """Return what bounded the rates, for the report; nothing where there were none."""
        most = self._rates.most
        return f"\nNo rate was above {most:,.0f}/s: what the generator held against the limit." if most else ""

    def measure(self, peer: Peer, work: Work) -> Figures:
        """Return what `work` costs this server."""
        if work.way is Way.IDLE:
            return self._idle(peer, work)
        server = self._servers[peer.name]
        self._warm(server, work)
        return self._cpu(server, work) if work.way is Way.CPU else self._paced(server, work)

    def _paced(self, server: Server, work: Work) -> Figures:
        measure = partial(self._at_rate, server.peer.name, self._rate(server, work))
        seen = measure() if self._amount.requests else tried(measure)
        return Figures(seen.p99_us, seen.per_second, seen.p50_us, seen.p99_us, seen.busy, seen.counts)

    def _rate(self, server: Server, work: Work) -> float:
        if self._amount.requests:
            return SMOKE_RATE
        if work.way is Way.PACED:
            return self._rates.own(server.peer.name)
        return self._rates.even(name for name in work.peers() if name in self._servers)

    def _cost_us(self, name: str) -> float:
        self._warm(self._servers[name], PACED)
        return self._cpu(self._servers[name], PACED).cost

    def _at_rate(self, name: str, rate: float) -> Paced:
        server = self._servers[name]
        process, work = server.process, replace(PACED, connections=CONNECTIONS)
        used_ns, waited_ns = process.cpu_ns(), process.waited_ns()
        seen = self._load(server, work, f"rate={rate:.0f}")
        used_ns, waited_ns = process.cpu_ns() - used_ns, process.waited_ns() - waited_ns
        per_second = seen["timed"] / max(seen["seconds"], 1e-9)
        return Paced(
            per_second=per_second,
            p50_us=seen["p50_us"],
            p99_us=seen["p99_us"],
            busy=used_ns / 1e9 / seen["answered"] * per_second,
            late_us=seen["late_us"],
            waited=0.0 if server.peer.is_threaded else waited_ns / 1e9 / seen["answered"] * per_second,
        )

    def _started(self, stack: ExitStack, peer: Peer) -> Server:
        directory = self._directory / f"server{next(self._names)}"
        directory.mkdir()
        place = Place(directory, free_port(), self.origin, self._programs["server"])
        cores = SERVER_CORES if peer.cores == 1 else SERVER_CORES | LOAD_CORES
        process = Process(peer.command(place), cores, directory / "log")
        stack.callback(process.end)
        return Server(peer, process, place.port)

    def _warm(self, server: Server, work: Work) -> None:
        if work.urls:
            for _ in range(PASSES):
                self._run(server, work, f"n:{self._urls(work)}", "numbers=count:0")
        elif work.is_hit:
            self._ended(self._generator(work, str(server.port), "1", "n:1"), server, work)
            self._run(server, work, f"n:{self._amount.requests or WARM_REQUESTS}")
        else:
            self._run(server, work, f"n:{WARM_FETCHES}")

    def _urls(self, work: Work) -> int:
        return min(work.urls, self._amount.requests or work.urls)

    def _cpu(self, server: Server, work: Work) -> Figures:
        used_ns = server.process.cpu_ns()
        seen = self._load(server, work)
        used_ns = server.process.cpu_ns() - used_ns
        answered = seen["answered"]
        return Figures(used_ns / answered / 1e3, answered / seen["seconds"], seen["p50_us"], seen["p99_us"])

    def _load(self, server: Server, work: Work, *options: str) -> dict[str, Any]:
        """Ask as the work says; every answer and every fetch is judged."""
        if work.urls:
            options += (f"numbers=zipf:{self._urls(work)}",)
        if work.is_hit and server.peer.said_of_a_hit:
            options += (f"must={server.peer.said_of_a_hit}",)
        fetched = self._fetched()
        seen = self._run(server, work, self._amount.spelled, *options)
        fetched = self._fetched() - fetched
        wanted = 0 if work.is_hit else seen["answered"]
        if fetched != wanted:
            raise Wrong(f"{server.peer.name}, {work.title}: the origin was asked {fetched} times instead of {wanted}")
        return seen

    def _run(self, server: Server, work: Work, amount: str, *options: str) -> dict[str, Any]:
        generator = self._generator(work, str(server.port), str(work.connections), amount, *options)
        return self._ended(generator, server, work)

    def _generator(self, work: Work, port: str, connections: str, amount: str, *more: str) -> subprocess.Popen[str]:
        template = self._directory / "request"
        template.write_text(work.request())
        base = next(self._numbers)
        command = [
            *("taskset", "-c", ",".join(map(str, LOAD_CORES)), str(self._programs["load"])),
            *(port, connections, amount, str(template), str(work.size)),
            *(f"unique={base}", f"numbers=count:{base}", f"close={work.closes:d}", *more),
        ]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ended(self, generator: subprocess.Popen[str], server: Server, work: Work) -> dict[str, Any]:
        """Return what the generator saw."""
        output, _ = generator.communicate("go\n")
        who = f"{server.peer.name}, {work.title}"
        if generator.returncode:
            raise Wrong(f"{who}: the load generator gave up")
        seen: dict[str, Any] = json.loads(output.splitlines()[-1])
        if seen["wrong"]:
            raise Wrong(f"{who}: {seen['wrong']} of {seen['answered']} answers are wrong: {seen['first_wrong']}")
        return seen

    def _idle(self, peer: Peer, work: Work) -> Figures:
        """Measure a server that was just started: memory that a server once had, it seldom gives back."""
        with ExitStack() as stack:
            server = self._started(stack, peer)
            server.process.wait_for(server.port)
            self._warm(server, work)
            before = server.process.memory_bytes()
            word = "used" if work.asks_first else "new"
            generator = self._generator(work, str(server.port), str(self._amount.idle), f"idle:{word}")
            assert generator.stdout is not None
            if generator.stdout.readline() != "open\n":
                raise Wrong(f"{peer.name}: {self._amount.idle} connections could not be opened")
            taken = server.process.memory_bytes() - before
            seen = self._ended(generator, server, work)
            return Figures(taken / self._amount.idle / 1024, 0.0, seen["p50_us"], seen["p99_us"])

    def _fetched(self) -> int:
        """Return how many requests the origin has answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.origin, timeout=10)
        connection.request("GET", "/count")
        fetched = int(connection.getresponse().read())
        connection.close()
        return fetched


def said(text: str) -> None:
    """Say how far the run is, on standard error."""
    print(text, file=sys.stderr, flush=True)
