"""`accel` with one defect put into it: a request for /loop never lets its worker's event loop go on.

Run as `python looping_accel.py OPTIONS`; everything else is the product as it is.
"""

from __future__ import annotations

from accel.cli import main
from accel.http.message import Request
from accel.policy.default import DefaultPolicy
from accel.policy.verdict import RequestVerdict
from accel.server import worker


class LoopingPolicy(DefaultPolicy):
    """The default policy, but for one target."""

    def request(self, request: Request, client_ip: str) -> RequestVerdict:
        while request.target == b"/loop":
            pass
        return super().request(request, client_ip)


if __name__ == "__main__":
    worker.DefaultPolicy = LoopingPolicy  # type: ignore[attr-defined]
    main()
