"""Which policies come into force, which stay, and which one is returned to."""

from __future__ import annotations

from pathlib import Path

import pytest

from accel.addresses import backends
from accel.config import Config, OriginOptions
from accel.errors import PolicyRefused
from accel.http.message import Request
from accel.server.policy_parcel import unpacked
from accel.server.policy_versions import MOST_VERSIONS, Version, Versions

BROKEN = "request { whenn }"


class Files:
    """A directory of policies, and the versions that they come to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.versions = Versions()
        self.now = 1000.0

    def config(self, path: Path | None) -> Config:
        """Return a configuration with a backend of the command line's."""
        path_text = None if path is None else str(path)
        return Config(origin=OriginOptions(backends=backends("127.0.0.1:9")), policy_path=path_text)

    def write(self, name: str, text: str) -> Path:
        """Write one file."""
        path = self.directory / f"{name}.policy"
        path.write_text(f"policy 1\n{text}\n")
        return path

    def take(self, path: Path | None = None) -> Version:
        """Read and adopt; `path` is the directory unless given."""
        self.now += 1
        version = self.versions.read(self.config(path or self.directory), self.now)
        self.versions.adopt(version)
        return version

    def why(self, host: str) -> str:
        """Return why a request for a host is passed, by the rules in force."""
        sites = self.versions.current.sites(self.config(None))
        request = Request(b"GET", b"/", host.encode(), host.encode())
        return sites.of(request.host).request(request, "").why

    def back(self) -> None:
        """Return to the version before."""
        self.versions.adopt(self.versions.before(self.config(self.directory)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return an empty directory."""
    return Files(tmp_path)


def passing(host: str, why: str) -> str:
    """Return a file for a host that passes everything."""
    return f'site {host}\nrequest {{ pass "{why}" }}'


def test_without_a_policy_the_built_in_rules_are_in_force(files: Files) -> None:
    version = files.versions.read(files.config(None), 1.0)

    assert (version.number, version.files) == (1, ())


def test_of_a_directory_a_broken_site_is_refused_alone(files: Files) -> None:
    files.write("a", passing("a.example", "A"))
    files.write("b", f"site b.example\n{BROKEN}")

    version = files.take()

    assert [live.checked.hosts for live in version.files] == [("a.example",)]
    (refusal,) = version.refused
    assert refusal.file.endswith("b.policy") and "^" in refusal.text
    assert refusal.problems[0].startswith(f"{refusal.file}:3:")


def test_a_strict_reader_takes_no_directory_with_a_broken_site(files: Files) -> None:
    files.write("a", passing("a.example", "A"))
    files.write("b", f"site b.example\n{BROKEN}")

    with pytest.raises(PolicyRefused, match=r"b\.policy:3"):
        files.versions.read(files.config(files.directory), 1.0, is_strict=True)


@pytest.mark.parametrize("text", [BROKEN, 'test "no" { get "/" -> pass }', "pool own { servers 127.0.0.1:8080 }"])
def test_a_single_file_that_will_not_do_is_refused_whole(files: Files, text: str) -> None:
    path = files.write("a", text)

    with pytest.raises(PolicyRefused) as refused:
        files.take(path)

    assert len(refused.value.problems) == 1 and refused.value.problems[0].startswith(str(path))


def test_nobody_starts_without_the_rules_for_every_other_host(files: Files) -> None:
    files.write("a", passing("a.example", "A"))
    files.write("default", BROKEN)

    with pytest.raises(PolicyRefused, match=r"default\.policy:2"):
        files.take()


def test_a_site_that_breaks_keeps_its_last_good_version_while_others_change(files: Files) -> None:
    files.write("a", passing("a.example", "A"))
    files.write("b", passing("b.example", "B"))
    files.take()
    files.write("a", BROKEN)
    files.write("b", passing("b.example", "B2"))

    version = files.take()

    assert (files.why("a.example"), files.why("b.example")) == ("A", "B2")
    assert [one.file for one in version.refused] == [str(files.directory / "a.policy")]
    assert [live.since_at for live in version.files] == [1001.0, 1002.0]


def test_a_file_that_is_gone_is_not_in_force(files: Files) -> None:
    files.write("a", passing("a.example", "A"))
    files.write("b", passing("b.example", "B")).touch()
    files.take()
    (files.directory / "a.policy").unlink()

    files.take()

    assert files.why("a.example") == ""


def test_the_same_files_are_no_new_version(files: Files) -> None:
    path = files.write("a", passing("a.example", "A"))

    first = files.take(path)
    again = files.take(path)

    assert (again.number, again.since_at) == (first.number, first.since_at)
    assert not files.versions.earlier


def test_a_rollback_returns_to_what_was_and_can_be_repeated(files: Files) -> None:
    for why in ("one", "two", "three"):
        path = files.write("a", passing("a.example", why))
        files.take(path)

    files.back()
    assert files.why("a.example") == "two"
    files.back()
    assert files.why("a.example") == "one"
    with pytest.raises(PolicyRefused, match="no earlier version"):
        files.back()

    assert files.take(path).number == 4, "what is on disk is read again by the next reload"
    assert files.why("a.example") == "three"


def test_only_the_last_versions_are_kept(files: Files) -> None:
    for number in range(MOST_VERSIONS + 3):
        files.take(files.write("a", passing("a.example", f"v{number}")))

    assert [version.number for version in files.versions.earlier] == [3, 4, 5, 6, 7]


def test_rules_without_any_origin_are_refused(files: Files) -> None:
    path = files.write("a", passing("a.example", "A"))

    with pytest.raises(PolicyRefused, match="no origin"):
        files.versions.read(Config(policy_path=str(path)), 1.0)


def test_a_parcel_holds_the_rules(files: Files) -> None:
    path = files.write("a", passing("a.example", "A") + '\ntest "t" { get "/" -> pass "A" }')

    version = files.take(path)

    sites = unpacked(version.parcel, files.config(path))
    (policy,) = sites.policies
    assert policy.checked.tests == policy.checked.lines == ()
    assert policy.checked.phases == version.policies[0].phases
