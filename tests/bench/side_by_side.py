"""Server CPU a request of accel, HAProxy, nginx, Varnish and the smallest possible server, side by side in one run.

    python tests/bench/side_by_side.py [--rounds 5] [--seconds 2] [--out DIR]
    python tests/bench/side_by_side.py --works hit,zipf --peers accel,haproxy --rounds 3 --seconds 1

Each server has one core and one worker, load generator and origin have the other core. The figure is user plus system
time of all processes of the server over the requests that they answered; all take turns in every round, and ratios are
medians of the rounds' ratios. What the work twin shows, of two accels that are the same, is noise. Every answer is
verified, and that hits were hits; the run fails if anything is wrong.

The works paced and even give the p99 of hits that come at a rate, however slow the answers are: at 70 % of what one
core of each server can do, and at 70 % of what the slowest can, the same for all (how that is found and when a time
counts, side/pacing.py says). The report has at which rate each p99 was taken and how busy the core was. Times need a
machine of their own: where others used the two cores, it says that the generator fell behind, and gives no figure.

Needs gcc, taskset and two cores; HAProxy, nginx and Varnish are taken along where they are installed (Debian: apt-get
install gcc haproxy nginx-light varnish), a plot is drawn where matplotlib is. Works and peers are in side/.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from side import report
from side.peers import PEERS, Peer, connections, found
from side.rounds import Amount, Bench, Wrong, said
from side.works import WORKS, Way, Work

SOURCES = Path(__file__).parent / "side"
FILES = 1 << 17
SMOKE = Amount(requests=200, idle=100)
SMOKE_WORKS = "hit,cookie,zipf,hit64k,hit1m,pass,miss,connect,paced,even"


def built(directory: Path) -> dict[str, Path]:
    """Compile the origin (which is also the limit) and the load generator."""
    programs = {}
    for name in ("server", "load"):
        programs[name] = directory / name
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(programs[name]), str(SOURCES / f"{name}.c"), "-lm"]
        subprocess.run(command, check=True)
    return programs


def raise_files() -> None:
    """Let every process have as many open files as the works need, or as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(hard, FILES)))
    except ValueError:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--works", default="", help=f"some of {','.join(WORKS)}")
    parser.add_argument("--peers", default="", help=f"some of {','.join(PEERS)}")
    parser.add_argument("--idle", type=int, default=20_000, help="idle connections; each may take two open files")
    parser.add_argument("--out", type=Path, help="where side_by_side.md, .json and .png are written")
    parser.add_argument("--smoke", action="store_true", help="a few requests of nearly every work; no figures")
    return parser.parse_args()


def picked(spelled: str, there_are: list[str]) -> list[str]:
    """Return the names that a comma list has, or all."""
    names = spelled.split(",") if spelled else there_are
    unknown = set(names) - set(there_are)
    if unknown:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(there_are)}")
    return names


def taking_part(work: Work, peers: list[str]) -> list[Peer]:
    """Return who of those that were chosen does a work; where accel is, so is the one that is set up for it."""
    return [peer for name, peer in work.peers().items() if name in peers or (work.own is peer and "accel" in peers)]


def all_peers(works: list[Work], peers: list[str]) -> list[Peer]:
    """Return who runs all the time; where requests are paced, the limit shows what the generator holds."""
    paced = any(work.way in (Way.PACED, Way.EVEN) for work in works)
    running = [peer for work in works if work.way is not Way.IDLE for peer in taking_part(work, peers)]
    return [*running, PEERS["limit"]] if paced else running


def measured(bench: Bench, works: list[Work], peers: list[str], rounds: int) -> report.Seen:
    """Let everybody take turns, the last of a turn first in the next: what comes and goes slows nobody more often."""
    seen: report.Seen = {work.name: {peer.name: [] for peer in taking_part(work, peers)} for work in works}
    for number in range(rounds):
        for work in works:
            for turn in range(work.turns):
                order = taking_part(work, peers)[:: -1 if (number * work.turns + turn) % 2 else 1]
                for peer in order:
                    figures = bench.measure(peer, work)
                    seen[work.name][peer.name].append(figures)
                    said(f"round {number + 1}: {work.name:12} {peer.name:16} {report.shown(work, figures)}")
    return {name: by_server for name, by_server in seen.items() if by_server}


def present(peers: list[str]) -> list[str]:
    """Return those that are installed, and say which are not."""
    for peer in [PEERS[name] for name in peers if not PEERS[name].is_there]:
        said(f"{peer.name} is not installed (Debian: apt-get install {peer.package}): left out")
    return [name for name in peers if PEERS[name].is_there]


def amount_of(chosen: argparse.Namespace) -> Amount:
    """Return how much is asked; accel closes idle connections early near its limit, so it is kept from there."""
    raise_files()
    if chosen.smoke:
        return SMOKE
    idle = min(chosen.idle, connections() * 2 // 3)
    if idle < chosen.idle:
        said(f"{idle:,} idle connections: the limit of open files allows no more")
    return Amount(chosen.seconds, idle=idle)


def measured_here(amount: Amount, works: list[Work], peers: list[str], rounds: int) -> tuple[report.Seen, str]:
    """Start everybody, measure, end everybody; return what bounded it, too. Raises SystemExit if anything was wrong."""
    with ExitStack() as stack:
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True)))
        directory.chmod(0o755)  # nginx's worker may be another user
        bench = Bench(stack, directory, built(directory), amount)
        bench.start(all_peers(works, peers))
        try:
            return measured(bench, works, peers, rounds), bench.limits()
        except Wrong as wrong:
            raise SystemExit(str(wrong)) from None


def main() -> None:
    """Measure in turns, and report."""
    chosen = options()
    for tool in ("gcc", "taskset"):
        if found(tool) is None:
            raise SystemExit(f"{tool} is missing (Debian: apt-get install gcc libc6-dev util-linux)")
    works = [WORKS[name] for name in picked(chosen.works or (SMOKE_WORKS if chosen.smoke else ""), list(WORKS))]
    peers = present(picked(chosen.peers, list(PEERS)))
    seen, limits = measured_here(amount_of(chosen), works, peers, 1 if chosen.smoke else chosen.rounds)
    if chosen.smoke:
        print("all answers were right")
        return
    note = report.note([PEERS[name] for name in peers], chosen.rounds, chosen.seconds) + limits
    print(report.text_of(seen, note))
    if chosen.out:
        report.write(chosen.out, seen, note)


if __name__ == "__main__":
    main()
