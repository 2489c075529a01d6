"""What is learned of which pages can be stored, and how long a request waits by that."""

from __future__ import annotations

import pytest

from accel.proxy.contents import Found
from accel.proxy.patience import Evidence, Prospect, deadline, wait_until

SHARED, OWN, UNKNOWN = Prospect.SHARED, Prospect.OWN, Prospect.UNKNOWN
HOST = b"a\0"


def expected(evidence: Evidence, target: bytes, host: bytes = HOST) -> Prospect:
    """Return what is expected of a page of which nothing is stored."""
    return evidence.prospect(Found(host + target, host + target))


def seen(*answers: tuple[bytes, int, bool]) -> Evidence:
    """Return the evidence of answers, in their order: target, status, whether it was storable."""
    evidence = Evidence()
    for target, status, is_storable in answers:
        evidence.note(HOST + target, status, is_storable)
    return evidence


@pytest.mark.parametrize(("is_storable", "prospect"), [(True, SHARED), (False, OWN)])
def test_three_of_a_directory_in_a_row_speak_for_the_fourth(is_storable: bool, prospect: Prospect) -> None:
    evidence = seen(*[(b"/d/%d" % number, 200, is_storable) for number in range(3)])

    assert expected(evidence, b"/d/new") is prospect
    assert expected(evidence, b"/d/deeper/new") is UNKNOWN
    assert expected(evidence, b"/new") is UNKNOWN
    assert expected(evidence, b"/d/new", b"b\0") is UNKNOWN


@pytest.mark.parametrize("is_storable", [True, False])
def test_two_do_not_and_one_of_the_other_sort_begins_anew(is_storable: bool) -> None:
    evidence = seen(*[(b"/d/%d" % number, 200, is_storable) for number in range(2)])
    assert expected(evidence, b"/d/new") is UNKNOWN

    evidence.note(b"a\0/d/other", 200, not is_storable)
    evidence.note(b"a\0/d/third", 200, is_storable)

    assert expected(evidence, b"/d/new") is UNKNOWN


def test_one_page_seen_often_is_one_page() -> None:
    evidence = seen(*[(b"/d/1", 200, False)] * 5)

    assert expected(evidence, b"/d/new") is UNKNOWN


def test_the_kin_of_a_page_with_a_query_are_its_other_queries() -> None:
    evidence = seen(*[(b"/search?q=%d" % number, 200, False) for number in range(3)])

    assert expected(evidence, b"/search?q=new") is OWN
    assert expected(evidence, b"/page") is UNKNOWN


def test_a_page_that_was_stored_is_waited_for_whatever_its_kin_were() -> None:
    evidence = seen((b"/d/page", 200, True), *[(b"/d/%d" % number, 200, False) for number in range(9)])

    assert expected(evidence, b"/d/page") is SHARED
    assert expected(evidence, b"/d/new") is OWN


def test_a_page_that_was_not_storable_is_not_judged_by_its_kin() -> None:
    evidence = seen((b"/d/page", 200, False), *[(b"/d/%d" % number, 200, True) for number in range(9)])

    assert expected(evidence, b"/d/page") is UNKNOWN


def test_a_variant_speaks_for_its_page() -> None:
    evidence = seen((b"/page\x000\x002:de", 200, True))

    assert expected(evidence, b"/page") is SHARED


def test_what_is_stored_though_stale_is_evidence_enough() -> None:
    evidence = seen((b"/page", 200, False))
    found = Found(b"a\0/page", b"a\0/page", entry=object())  # type: ignore[arg-type]

    assert evidence.prospect(found) is SHARED


def test_made_up_names_say_nothing_of_their_kin() -> None:
    evidence = seen(*[(b"/d/made-up-%d" % number, 404, False) for number in range(9)])

    assert expected(evidence, b"/d/new") is UNKNOWN


def test_an_origin_in_trouble_takes_no_evidence_away() -> None:
    evidence = seen((b"/page", 200, True), (b"/page", 503, False))

    assert expected(evidence, b"/page") is SHARED


def test_what_is_remembered_is_bounded_and_the_least_used_goes() -> None:
    evidence = Evidence(pages=4, kin=2)
    for directory in (b"/a", b"/b", b"/c"):
        for number in range(3):
            evidence.note(b"a\0%b/%d" % (directory, number), 200, True)

    assert len(evidence._pages) <= 4
    assert len(evidence._kin) <= 2
    assert expected(evidence, b"/c/new") is SHARED
    assert expected(evidence, b"/a/new") is UNKNOWN


async def test_the_wait_follows_what_is_expected() -> None:
    assert deadline(SHARED, 0.2) is None
    assert deadline(UNKNOWN, None) is None and deadline(OWN, None) is None
    early, late = deadline(OWN, 0.2), deadline(UNKNOWN, 0.2)
    assert early is not None and late is not None
    assert late - early >= 0.2


async def test_a_wait_that_is_over_does_not_keep_what_is_there_already() -> None:
    came: list[int] = []

    async def at_once() -> None:
        came.append(1)

    await wait_until(0.0, at_once())

    assert came == [1]
