"""A policy of 500 rules of every kind, as policy_costs.py has them; none of them holds for what the works ask."""

from __future__ import annotations

from policy_costs import NAMES, general

COUNT = 500


def policy(origin: int) -> str:
    """Return the policy of a server before the origin on that port."""
    first = f"pool app {{ servers 127.0.0.1:{origin} }}"  # the first pool is where requests go
    return f"policy 1\n{first}\n{NAMES}\nrequest {{\n{general(COUNT)}\n}}\n"
