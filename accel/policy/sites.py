"""Which file's rules govern a request: by its host, from a table, then by wildcards from the longest to the shortest.

Owns that choice and nothing of the rules. Invariant: one host has one file; a file without `site` governs every host
that no other file names.
"""

from __future__ import annotations

from collections.abc import Sequence

from accel.policy.compile import CompiledPolicy


class Sites:
    """Several compiled files."""

    def __init__(self, policies: Sequence[CompiledPolicy], otherwise: CompiledPolicy) -> None:
        """`otherwise` governs what no file does; of two files that name one host the first has it."""
        self._hosts: dict[bytes, CompiledPolicy] = {}
        self._below: dict[bytes, CompiledPolicy] = {}
        """By what a wildcard host ends with, from its dot on."""
        self.otherwise = next((policy for policy in policies if not policy.checked.hosts), otherwise)
        self.policies = tuple(policies)
        for policy in policies:
            for host in policy.checked.hosts:
                if host.startswith("*."):
                    self._below.setdefault(host[1:].encode(), policy)
                else:
                    self._hosts.setdefault(host.encode(), policy)
        self._is_one = not self._hosts and not self._below

    def of(self, host: bytes) -> CompiledPolicy:
        """Return the rules for a request's host, which is in key form; a port plays no part unless a file names it."""
        if self._is_one:
            return self.otherwise
        found = self._hosts.get(host)
        if found is not None:
            return found
        name = _without_port(host)
        found = self._hosts.get(name)
        if found is not None or not self._below:
            return found or self.otherwise
        dot = name.find(b".")
        while dot >= 0:
            found = self._below.get(name[dot:])
            if found is not None:
                return found
            dot = name.find(b".", dot + 1)
        return self.otherwise


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host
