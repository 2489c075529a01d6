"""The log that root makes for the workers' user, in a directory where that user may have put anything."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from accel.server.privileges import make_log

NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_a_new_log_and_an_old_one_are_given_to_the_workers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(2):
        make_log(str(log), NOBODY, NOBODY)
        assert (log.stat().st_uid, log.stat().st_gid) == (NOBODY, NOBODY)
        log.write_text("kept")
        os.chown(log, 0, 0)
    assert log.read_text() == "kept"


def test_without_a_user_the_log_is_made_and_stays_ours(tmp_path: Path) -> None:
    make_log(str(tmp_path / "log"), None, None)
    assert (tmp_path / "log").stat().st_uid == 0


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_of_root_behind_a_link_is_not_given_away(tmp_path: Path, link: object) -> None:
    secret = tmp_path / "shadow"
    secret.touch()
    log = tmp_path / "log"
    assert callable(link)
    link(log, secret)
    make_log(str(log), NOBODY, NOBODY)
    assert secret.stat().st_uid == 0


def test_a_link_to_nothing_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "cron.d")
    make_log(str(tmp_path / "log"), NOBODY, NOBODY)
    assert not (tmp_path / "cron.d").exists()


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    make_log(str(tmp_path / "log"), NOBODY, NOBODY)


def test_a_log_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        make_log(str(tmp_path / "missing" / "log"), NOBODY, NOBODY)
