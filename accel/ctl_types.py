"""What accelctl's options take: our own parsers as click's types."""

from __future__ import annotations

from typing import Any

import click

from accel import values


class Parsed(click.ParamType[Any]):
    """A click type from one of our parsers."""

    def __init__(self, kind: values.Kind) -> None:
        self.name = kind.metavar
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse; say what would do."""
        try:
            return self._kind.parse(value)
        except ValueError as error:
            self.fail(f"{value!r} will not do: {error}", param, ctx)
