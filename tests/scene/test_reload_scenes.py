"""HUP and the admin's reload while clients are there: the new configuration is used, and nobody notices the change."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from accel_process import Accel, StartAccel
from children import eventually
from fault_origin import FaultOrigin, StartFaultOrigin, gated, halved, reply
from http_clients import Load, Raw, ask, several_clients

pytestmark = pytest.mark.scene
NEVER_STORED = "Cache-Control: no-store"


class ConfigFile:
    """A TOML file that a reload reads again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, backends: list[FaultOrigin], **options: str) -> None:
        """Replace it at once, as an editor or a deployment does."""
        lines = [f"backend = {[origin.backend for origin in backends]}"]
        lines += [f'{name.replace("_", "-")} = "{value}"' for name, value in options.items()]
        draft = self.path.with_suffix(".draft")
        draft.write_text("\n".join(lines))
        draft.replace(self.path)

    @property
    def flags(self) -> list[str]:
        """What makes accel read it."""
        return ["--config", str(self.path)]


@pytest.fixture
def config(tmp_path: Path) -> ConfigFile:
    """Return a file that does not exist yet."""
    return ConfigFile(tmp_path / "accel.toml")


@pytest.fixture
def pool(start_fault_origin: StartFaultOrigin) -> list[FaultOrigin]:
    """Return two origins, each with a page that may be stored and one that may not."""
    origins = [start_fault_origin() for _ in range(2)]
    for origin in origins:
        origin.on("/cached", reply(b"cached", "Cache-Control: max-age=600"))
        origin.on("/passed", reply(b"passed", NEVER_STORED))
        origin.on("/slow", gated(reply(b"whole", NEVER_STORED)))
    return origins


def hup(accel: Accel) -> None:
    """Reload, and wait until the arbiter has said so."""
    generation = accel.admin("GET", "/facts")["generation"]
    accel.send(signal.SIGHUP)
    accel.child.wait_for(f" reloaded generation={generation + 1}")


def test_thirty_reloads_under_load_fail_nobody(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags)
    pids = accel.worker_pids()

    with Load(accel.port, ["/cached", "/passed", "/cached"]) as load:
        for turn in range(30):
            config.write(pool[: 1 + turn % 2], idle_timeout=f"{5 + turn}s")
            hup(accel)
            load.wait_more(100)

    assert load.failures == []
    assert set(load.statuses) == {200}
    assert load.reconnects == 0, "kept-alive connections stay"
    assert accel.worker_pids() == pids
    assert accel.admin("GET", "/facts")["generation"] == 31


def test_changing_all_backends_at_once_fails_nobody(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool[:1])
    accel = start_accel([], *config.flags)

    with Load(accel.port, ["/passed"]) as load:
        for turn in range(40):
            config.write([pool[(turn + 1) % 2]])
            hup(accel)
            load.wait_more(20)

    assert load.failures == []
    assert set(load.statuses) == {200}


def test_a_reload_changes_how_many_clients_a_worker_takes(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags, workers=1)

    with several_clients(accel, 1) as [client]:
        config.write(pool, max_clients="1")
        hup(accel)
        client.begin("/slow")
        eventually("it is forwarded", lambda: any(origin.asked("/slow") for origin in pool))
        refused = ask(accel, "/passed")
        for origin in pool:
            origin.open_gate()
        assert client.answer().status == 200

    assert refused.status == 503


def test_a_reload_keeps_what_is_stored(start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags, workers=1)
    ask(accel, "/cached")

    config.write(pool[:1], balance="least-conn")
    hup(accel)

    assert ask(accel, "/cached").is_hit


def test_a_reload_changes_the_list_of_backends_and_old_exchanges_end(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    old, new = pool
    config.write([old])
    accel = start_accel([], *config.flags)

    with several_clients(accel, 1) as [client]:
        client.begin("/slow")
        old.wait_asked("/slow")
        config.write([new])
        hup(accel)
        eventually("the new one is asked", lambda: ask(accel, "/passed").fields["x-origin"] == str(new.port))
        origins = {ask(accel, "/passed").fields["x-origin"] for _ in range(20)}
        old.open_gate()
        answer = client.answer()

    assert origins == {str(new.port)}
    assert (answer.status, answer.body) == (200, b"whole")
    assert list(accel.backends()) == [new.backend]


def test_a_backend_that_stays_keeps_its_state(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    staying, leaving = pool
    config.write(pool)
    accel = start_accel([], *config.flags)
    accel.admin("POST", "/drain", {"backend": staying.backend})

    config.write([staying, leaving], idle_timeout="7s")
    hup(accel)

    assert {address: row["state"] for address, row in accel.backends().items()} == {
        staying.backend: "draining",
        leaving.backend: "up",
    }


def test_a_wrong_configuration_is_refused_and_the_old_one_serves_on(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags)

    config.write(pool, idle_timeout="soon")
    accel.send(signal.SIGHUP)
    accel.child.wait_for(" reload-refused ")
    status, payload = accel.admin_answer("POST", "/reload", {})

    assert (status, payload["ok"]) == (422, False)
    assert "idle-timeout" in payload["error"] and "soon" in payload["error"]
    assert payload["error"] in accel.log
    assert accel.admin("GET", "/facts")["generation"] == 1
    assert ask(accel, "/passed").status == 200


def test_a_log_that_cannot_be_written_is_refused_and_the_old_one_is_written_on(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin], tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    config.write(pool, access_log=str(log))
    accel = start_accel([], *config.flags)

    config.write(pool, access_log=str(tmp_path / "missing" / "log"))
    status, payload = accel.admin_answer("POST", "/reload", {})
    ask(accel, "/passed")

    assert status == 422 and "--access-log" in payload["error"]
    eventually("it is in the old log", lambda: "GET /passed" in log.read_text())


def test_a_missing_configuration_is_refused_and_the_old_one_serves_on(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags)

    config.path.unlink()
    accel.send(signal.SIGHUP)
    accel.child.wait_for(" reload-refused ")

    assert ask(accel, "/passed").status == 200


def test_what_needs_a_restart_is_said(start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags)

    config.write(pool, memory="1g", pid="elsewhere", max_stored_body="1k")
    hup(accel)

    assert " reload-needs-restart options=pid,memory,max-stored-body" in accel.log
    assert ask(accel, "/passed").status == 200


def test_limits_of_a_new_configuration_hold_for_connections_there_are(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    config.write(pool)
    accel = start_accel([], *config.flags, workers=1)

    with Raw(accel.port) as client:
        client.get("/passed")
        client.receive_until(b"passed")
        config.write(pool, idle_timeout="100ms")
        hup(accel)
        assert client.ended()

    eventually("it is counted", lambda: accel.counter("idle_timeouts") == 1)


def test_a_body_under_way_survives_a_reload(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    origin = pool[0]
    origin.on("/half", halved(b"one half, other half", NEVER_STORED))
    config.write([origin])
    accel = start_accel([], *config.flags)

    with several_clients(accel, 1) as [client]:
        client.begin("/half")
        origin.wait_asked("/half")
        config.write(pool[1:], between_bytes_timeout="5s")
        hup(accel)
        eventually("workers use the new pool", lambda: ask(accel, "/passed").fields["x-origin"] != str(origin.port))
        origin.open_gate()
        answer = client.answer()

    assert answer.body == b"one half, other half"


def test_a_worker_that_starts_after_a_reload_has_the_new_configuration(
    start_accel: StartAccel, config: ConfigFile, pool: list[FaultOrigin]
) -> None:
    old, new = pool
    config.write([old])
    accel = start_accel([], *config.flags, workers=1)
    config.write([new])
    hup(accel)

    [pid] = accel.worker_pids()
    os.kill(pid, signal.SIGKILL)
    eventually("its successor accepts", lambda: accel.accepting_pids() not in ([], [pid]))

    assert ask(accel, "/passed").fields["x-origin"] == str(new.port)
