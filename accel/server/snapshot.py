"""What the status page shows, as one value: what an operator may ask for piece by piece, made to be asked each second.

Pure but for `Control`. What does not change by itself is not in it: the page asks for the policies when `generation`
has moved. Figures are totals; the page makes rates of two of them.
"""

from __future__ import annotations

import time

from accel.server.admin_routes import Control, Facts


def snapshot(control: Control) -> Facts:
    """Return everything that moves."""
    return {
        "at": round(time.time(), 3),
        "facts": control.facts(),
        "counters": {name: value for name, value in control.counters().items() if value},
        "workers": control.workers(),
        "backends": control.backends(),
        "store": control.glimpse(),
    }
