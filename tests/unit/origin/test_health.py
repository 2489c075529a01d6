"""Up and down: the state machine on a virtual clock, and the probe against real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_origin import Conversation, ScriptedOrigin, answering, free_port, response

from accel.config import Address, ProbeOptions
from accel.origin.health import BackendHealth, Health, probe

OPTIONS = ProbeOptions(rise=2, fall=3, slow_start_s=10.0)


def downed(now: float = 0.0) -> BackendHealth:
    """Return one that is down."""
    health = BackendHealth(OPTIONS)
    for _ in range(OPTIONS.fall):
        health.probe_failed(now, "refused")
    assert health.state is Health.DOWN
    return health


class TestStates:
    """RISE and FALL in a row."""

    def test_begins_up_with_its_whole_weight(self) -> None:
        health = BackendHealth(OPTIONS)

        assert health.state is Health.UP
        assert health.ramp(0.0) == 1000

    def test_goes_down_at_the_third_failure_in_a_row_and_says_so_once(self) -> None:
        health = BackendHealth(OPTIONS)

        assert [health.probe_failed(float(n), f"why {n}") for n in range(5)] == [
            False,
            False,
            True,
            False,
            False,
        ]
        assert health.last_why == "why 4"

    def test_probes_and_fetches_count_together(self) -> None:
        health = BackendHealth(OPTIONS)
        health.probe_failed(0.0, "slow")
        health.passive_failed(0.1, "reset")

        assert health.passive_failed(0.2, "reset")
        assert health.state is Health.DOWN

    @pytest.mark.parametrize("good", ["probe", "fetch"])
    def test_one_good_result_breaks_the_row(self, good: str) -> None:
        health = BackendHealth(OPTIONS)
        health.probe_failed(0.0, "slow")
        health.probe_failed(1.0, "slow")
        if good == "probe":
            health.probe_passed(2.0)
        else:
            health.passive_succeeded()
        health.probe_failed(3.0, "slow")

        assert health.state is Health.UP

    def test_comes_up_at_the_second_good_probe_in_a_row(self) -> None:
        health = downed()

        assert not health.probe_passed(1.0)
        health.probe_failed(2.0, "slow")
        assert not health.probe_passed(3.0)
        assert health.probe_passed(4.0)
        assert health.state is Health.UP

    def test_a_fetch_that_was_still_in_flight_brings_nobody_back(self) -> None:
        health = downed()
        for _ in range(10):
            health.passive_succeeded()

        assert health.state is Health.DOWN

    def test_fails_anew_after_its_return(self) -> None:
        health = downed()
        health.probe_passed(1.0)
        health.probe_passed(2.0)

        assert [health.probe_failed(3.0, "slow") for _ in range(3)] == [False, False, True]

    def test_ramps_up_over_the_slow_start(self) -> None:
        health = downed()
        health.probe_passed(100.0)
        health.probe_passed(100.0)

        assert [health.ramp(now) for now in (100.0, 102.5, 105.0, 109.9, 110.0, 102.0)] == [
            1,
            250,
            500,
            990,
            1000,
            1000,
        ]

    def test_without_slow_start_a_return_is_whole_at_once(self) -> None:
        health = BackendHealth(ProbeOptions(rise=1, fall=1, slow_start_s=0.0))
        health.probe_failed(0.0, "slow")
        health.probe_passed(1.0)

        assert health.ramp(1.0) == 1000


@pytest.mark.asyncio(loop_factories=["asyncio"])
class TestProbe:
    """On the arbiter's loop, plain asyncio."""

    @pytest.mark.parametrize("status", [200, 204, 302, 399])
    async def test_a_good_status_is_well(self, origin: ScriptedOrigin, status: int) -> None:
        origin.script = answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

        assert await probe(origin.address, "/up?x=1", "app.example", 5.0) is None
        assert origin.heads[0].startswith(b"GET /up?x=1 HTTP/1.1\r\n")
        assert b"\r\nHost: app.example\r\n" in origin.heads[0]

    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    async def test_a_bad_status_is_told(self, origin: ScriptedOrigin, status: int) -> None:
        origin.script = answering(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)

        assert await probe(origin.address, "/up", "h", 5.0) == f"status {status}"

    async def test_a_head_in_pieces_is_put_together(self, origin: ScriptedOrigin) -> None:
        async def trickle(talk: Conversation) -> None:
            await talk.receive_head()
            for byte in response(b"ok"):
                await talk.send(bytes([byte]))

        origin.script = trickle

        assert await probe(origin.address, "/", "h", 5.0) is None

    async def test_silence_is_told_within_the_timeout(self, origin: ScriptedOrigin) -> None:
        async def say_nothing(talk: Conversation) -> None:
            await talk.closed()

        origin.script = say_nothing

        assert await probe(origin.address, "/", "h", 0.05) == "no answer within 0.05 s"

    async def test_a_close_without_an_answer_is_told(self, origin: ScriptedOrigin) -> None:
        async def hang_up(talk: Conversation) -> None:
            await talk.receive_head()

        origin.script = hang_up

        assert await probe(origin.address, "/", "h", 5.0) == "connection closed before any answer"

    async def test_a_bad_response_is_told(self, origin: ScriptedOrigin) -> None:
        origin.script = answering(b"SSH-2.0-OpenSSH\r\n")

        assert await probe(origin.address, "/", "h", 5.0) == "not an HTTP/1.x response"

    async def test_without_a_path_a_connection_is_enough(self, origin: ScriptedOrigin) -> None:
        async def say_nothing(talk: Conversation) -> None:
            await talk.closed()

        origin.script = say_nothing

        assert await probe(origin.address, None, "", 5.0) is None

    @pytest.mark.parametrize("path", [None, "/"])
    async def test_a_refused_connection_is_told(self, path: str | None) -> None:
        why = await probe(Address("127.0.0.1", free_port()), path, "h", 5.0)

        assert why is not None
        assert "refused" in why.lower() or "connect" in why.lower()

    async def test_a_unix_socket_is_probed(self, unix_origin: ScriptedOrigin) -> None:
        assert await probe(unix_origin.address, "/", "h", 5.0) is None

    async def test_a_missing_unix_socket_is_told(self, tmp_path: Path) -> None:
        assert await probe(Address(path=str(tmp_path / "none")), None, "", 5.0) is not None
