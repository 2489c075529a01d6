"""Every error that accel raises, narrowest class first chosen. Owns names only; knows no layer.

Whose fault it is decides what is answered: a `RequestError` is the client's (4xx, 501, 505), an `OriginError` is a
backend's (502, 503, 504), a `ConfigError` the operator's (exit code 2).
"""


class AccelError(Exception):
    """Base of every error below."""


class ConfigError(AccelError):
    """A wrong option: names the option, the value (None: it is missing) and what would do."""

    def __init__(self, option: str, value: object, hint: str) -> None:
        refused = "" if value is None else f"{value!r} will not do: "
        super().__init__(f"{option}: {refused}{hint}")
        self.option = option
        self.value = value
        self.hint = hint


class PolicyRefused(AccelError):
    """Policies that will not do: the text is all that is wrong, for an operator to read (exit code 2 at the start)."""

    def __init__(self, text: str, problems: tuple[str, ...]) -> None:
        super().__init__(text)
        self.problems = problems
        """A line each, for the log."""


class StartError(AccelError):
    """The program could not start: a port in use, a missing right (exit code 1)."""


class RequestError(AccelError):
    """The client's message may not be acted on: answer `status`, then close the connection."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class ClientGone(AccelError):
    """The client's connection was lost before the exchange ended."""


class OriginError(AccelError):
    """A backend did not give a usable response; `status` is what a client gets when nothing stored can be used."""

    status = 502
    cause = b"bad-response"
    """What a policy's `error` phase calls it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class NoBackend(OriginError):
    """No backend is up, or none could be connected to."""

    status = 503
    cause = b"unavailable"


class ConnectFailed(OriginError):
    """A connection to a backend could not be made in time; nothing was sent."""

    status = 503
    cause = b"unavailable"


class ClosedUnanswered(OriginError):
    """A backend closed the connection before one byte of an answer."""


class BadResponse(OriginError):
    """A backend's message breaks HTTP's rules and may not be passed on or stored."""


class OriginTimeout(OriginError):
    """A backend was too slow: first byte, between bytes, or the whole."""

    status = 504
    cause = b"timeout"


class ResponseTruncated(OriginError):
    """A backend's body ended before its announced end; it is never stored and never ended cleanly."""
