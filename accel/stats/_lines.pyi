"""What Python sees of the compiled side; see `_lines.pyx`."""

from collections.abc import Callable

def combined_lines(chunk: bytes, clf_time: Callable[[int], str]) -> tuple[bytes, int, int] | None: ...
