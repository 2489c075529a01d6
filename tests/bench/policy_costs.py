"""What a decision costs: by the number of rules and hosts, and by the size of the worst input for each construct.

    taskset -c 1 python tests/bench/policy_costs.py [--worst]

CPU time of one process, the median of nine rounds over 200 different requests, each of them new: no field was looked
up in it before. `--worst` doubles the input of each construct four times; a time that grows faster than the input
shows as a factor well above 2.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from statistics import median
from time import process_time

from accel.http.message import Fields, Request
from accel.policy.check import check
from accel.policy.compile import CompiledPolicy, compiled
from accel.policy.parser import parse
from accel.policy.shipped import preset

ROUNDS = 9
CLIENT = "192.168.7.9"
EDITS = 'seal\nquery drop @tracking-params, sort\ncookies keep lang, "csrf*"'
NAMES = (
    'use "tracking-params"\ndef logged_in = cookie.sessionid exists\ndef asset = path glob ("*.css", "*.js")\n'
    "acl office { 10.0.0.0/8, 192.0.2.0/24 }\npool p { servers 127.0.0.1:1 }\npool other { servers 127.0.0.1:2 }"
)
KINDS = (
    'when path under "/area{n}/" {{ pass "area {n}" }}',
    'when path == "/page{n}" {{ redirect 301 "/other{n}" }}',
    "when cookie.group{n} exists {{ key + cookie.group{n} }}",
    'when header.x-flag{n} == "on" and path under "/flag/" {{ set header "X-F{n}" "1" }}',
    'when host == "h{n}.example" {{ pool p }}',
    'when client in office and path glob "/int{n}/*" {{ pass "office" }}',
    'when query.q{n} exists {{ pass "search" }}',
    'when logged_in and path under "/my{n}/" {{ pass "logged in" }}',
    'when path matches "^/item/[0-9]+/v{n}" {{ query keep v{n} }}',
    'when method == "POST" and path under "/api{n}/" {{ pass "api" }}',
)


def made(head: str, rules: str) -> CompiledPolicy:
    """Return a policy of request rules."""
    text = f"policy 1\n{head}\nrequest {{\n{rules}\n}}\n"
    return compiled(check(parse(text, "bench.policy"), preset, lambda name: ""))


def general(count: int) -> str:
    """Return rules of every kind."""
    return "\n".join(KINDS[n % len(KINDS)].format(n=n) for n in range(count))


def by_host(count: int, hosts: int) -> str:
    """Return rules that each belong to one host."""
    kinds = (
        'path under "/area{k}/" {{ pass "area" }}',
        'path == "/p{k}" {{ redirect 301 "/x" }}',
        "cookie.g{k} exists {{ key + cookie.g{k} }}",
        'query.q{k} exists {{ pass "search" }}',
        'not logged_in {{ set header "X-H{k}" "{k}" }}',
    )
    rules = []
    for n in range(count):
        k = n // hosts
        rules.append(f'when host == "h{n % hosts}.example" and {kinds[k % 5].format(k=k)}')
    return "\n".join(rules)


def requests(count: int = 200) -> list[Request]:
    """Return requests as browsers make them, each to another page."""
    chance = random.Random(1)
    return [
        Request(
            b"GET",
            b"/shop/things/%d?b=2&a=1&utm_source=x%d" % (number, chance.randrange(1000)),
            host=b"h%d.example" % chance.randrange(10),
            fields=Fields(
                [
                    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
                    (b"accept", b"text/html,application/xhtml+xml"),
                    (b"accept-language", b"de,en;q=0.5"),
                    (b"accept-encoding", b"gzip, deflate, br, zstd"),
                    (b"cookie", b"_ga=GA1.2.%d; lang=de; csrftoken=abc%d; theme=dark" % (number, number)),
                    (b"sec-fetch-mode", b"navigate"),
                ]
            ),
        )
        for number in range(count)
    ]


def decision_us(policy: CompiledPolicy) -> float:
    """Return the microseconds of CPU that one decision takes."""
    rounds = []
    for _ in range(ROUNDS):
        asked = requests()
        began = process_time()
        for request in asked:
            policy.request(request, CLIENT)
        rounds.append((process_time() - began) / len(asked) * 1e6)
    return median(rounds)


def costs() -> None:
    """Print what decisions cost."""
    table = {
        "no rules": made("", ""),
        "seal, query drop and sort, cookies keep": made(NAMES, EDITS),
        "50 rules of every kind": made(NAMES, general(50)),
        "50 rules of every kind, seal and edits": made(NAMES, f"{EDITS}\n{general(50)}"),
        "50 rules, 10 hosts": made(NAMES, by_host(50, 10)),
        "500 rules, 100 hosts": made(NAMES, by_host(500, 100)),
        "500 rules, 100 hosts, seal and edits": made(NAMES, f"{EDITS}\n{by_host(500, 100)}"),
        "500 rules of every kind": made(NAMES, general(500)),
    }
    for name, policy in table.items():
        print(f"{name:<42}{decision_us(policy):8.1f} us")


WORST: dict[str, tuple[str, Callable[[int], Request]]] = {
    "glob of many stars": (
        'when path glob "*a*a*a*a*b" { deny }', lambda size: Request(b"GET", b"/" + b"a" * size)
    ),
    "glob with ?": ('when path glob "*a?a*a?b" { deny }', lambda size: Request(b"GET", b"/" + b"a" * size)),
    "expression": ('when path matches "(a|aa)+$" { deny }', lambda size: Request(b"GET", b"/" + b"a" * size + b"!")),
    "contains": ('when path contains "aaaaaaaaab" { deny }', lambda size: Request(b"GET", b"/" + b"a" * size)),
    "slashes": (
        "\n".join(f'when path under "/{"x/" * n}a/" {{ deny }}' for n in range(8)),
        lambda size: Request(b"GET", b"/" + b"/" * size),
    ),
    "parameters": ('when query.z exists { deny }', lambda size: Request(b"GET", b"/?" + b"%61&" * (size // 4))),
    "query drop and sort": ('query drop "u*", sort', lambda size: Request(b"GET", b"/?" + b"%62&a&" * (size // 6))),
    "cookies": (
        'seal\ncookies drop "_*"',
        lambda size: Request(b"GET", b"/", fields=Fields([(b"cookie", b"a=1;" * (size // 4))])),
    ),
    "split": (
        'when split.s == "new" { deny }',
        lambda size: Request(b"GET", b"/", fields=Fields([(b"cookie", b"v=" + b"x" * size)])),
    ),
    "redirect": ('redirect 302 "${path}"', lambda size: Request(b"GET", b"/" * size + b'"' * size)),
}  # fmt: skip
_SPLIT = "split s by cookie.v { old 50%, new 50% }"


def worst() -> None:
    """Print how the worst inputs grow."""
    sizes = [1 << power for power in range(12, 17)]
    print(f"{'input of':<24}" + "".join(f"{size >> 10:>8} KiB" for size in sizes) + "   (us)")
    for name, (rules, request_of) in WORST.items():
        policy = made(f'use "tracking-params"\n{_SPLIT}', rules)
        times = [_one_us(policy, request_of, size) for size in sizes]
        print(f"{name:<24}" + "".join(f"{time:12.1f}" for time in times))


def _one_us(policy: CompiledPolicy, request_of: Callable[[int], Request], size: int) -> float:
    rounds = []
    for _ in range(ROUNDS):
        request = request_of(size)
        began = process_time()
        policy.request(request, CLIENT)
        rounds.append((process_time() - began) * 1e6)
    return median(rounds)


if __name__ == "__main__":
    worst() if "--worst" in sys.argv else costs()
