"""What Python sees of the compiled side; see `_ring.pyx`."""

class RingWriter:
    def __init__(self, mapping: memoryview) -> None: ...
    def begun(self) -> int: ...
    def write(
        self,
        at: float,
        first_byte_s: float,
        total_s: float,
        origin_s: float,
        age_s: float,
        ttl_s: float,
        key_hash: int,
        body_bytes: int,
        exchange_id: int,
        connection_id: int,
        status: int,
        minor: int,
        outcome: int,
        reason: int,
        retries: int,
        client: str,
        method: bytes,
        host: bytes,
        target: bytes,
        referer: bytes,
        user_agent: bytes,
        backend: str,
        rule: str,
        tags: bytes,
        asked: bytes = b"",
        varies: bytes = b"",
        /,
    ) -> None: ...

class RingWords:
    size: int
    def __init__(self, mapping: memoryview) -> None: ...
    def reserved(self) -> int: ...
    def head(self) -> int: ...
    def records(self) -> int: ...
    def copied(self, start: int, end: int) -> bytes | None: ...
