"""`accel` with one defect put into it: a request for /loop never lets its worker's event loop go on.

Run as `python looping_accel.py OPTIONS`; everything else is the product as it is.
"""

from __future__ import annotations

from accel.cli import main
from accel.http.message import Request
from accel.policy.compile import CompiledPolicy
from accel.policy.decision import RequestDecision

_request = CompiledPolicy.request


def _looping(policy: CompiledPolicy, request: Request, client_ip: str) -> RequestDecision:
    while request.target == b"/loop":
        pass
    return _request(policy, request, client_ip)


if __name__ == "__main__":
    CompiledPolicy.request = _looping  # type: ignore[method-assign]
    main()
