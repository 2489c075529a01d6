"""What an answer from the store depends on: which fields and cookies must agree for a decision to be given again."""

from __future__ import annotations

import pytest

from accel.policy.check import check
from accel.policy.dependence import Dependence, dependence
from accel.policy.parser import parse
from accel.policy.shipped import preset


def depends(text: str) -> Dependence:
    """Return what a policy's hits depend on."""
    return dependence(check(parse("policy 1\n" + text, "a.policy"), preset, str))


def test_conditions_texts_and_definitions_are_read() -> None:
    found = depends(
        'def phone = header.x-device == "phone"\nsplit s by cookie.visitor { a 50%, b 50% }\n'
        'request { when phone { key + cookie.currency }\n when split.s == "a" { pass "x" } }\n'
        'deliver { set header "X" "${header.x-a} ${cookie.lang}" }'
    )

    assert found.reads == {"header.x-device", "header.x-a"}
    assert found.cookies.exact == {b"visitor", b"currency", b"lang"}


def test_what_only_a_limit_reads_does_not_matter() -> None:
    found = depends(
        'request { when header.x-a exists { limit 2/s per client burst 2 else synth 429 "${header.x-b}" } }'
    )

    assert found.reads == {"header.x-a"}


@pytest.mark.parametrize(
    ("condition", "fits", "fits_not"),
    [
        ('glob ("sess*", "id")', b"sess1", b"_ga"),
        ('in ("session", "id")', b"id", b"_ga"),
        ('contains "ess"', b"_ga", None),
        ("exists", b"_ga", None),
    ],
)
def test_cookies_that_are_asked_for_by_name(condition: str, fits: bytes, fits_not: bytes | None) -> None:
    found = depends(f'request {{ when cookie {condition} {{ pass "known" }} }}')

    assert found.cookies.fits(fits)
    assert fits_not is None or not found.cookies.fits(fits_not)


@pytest.mark.parametrize(
    ("rules", "kept", "is_sealed"),
    [
        ("lookup", None, False),
        ("cookies keep lang", {b"lang"}, False),
        ("seal", None, True),
        ("seal\n cookies drop a", None, True),
        ("cookies keep none\n seal", set(), True),
        ("cookies keep lang\n cookies drop a", {b"lang"}, False),
        ('when path == "/a" { cookies keep lang }', None, False),
        ('when path == "/a" { cookies keep a } else { cookies keep b }', {b"a", b"b"}, False),
        ('when path == "/a" { cookies keep a; lookup }\n seal\n cookies keep b', {b"a", b"b"}, True),
        ('when path == "/a" { seal; pass "x" }\n cookies keep b', {b"b"}, False),
        (
            'when path == "/a" { deny 403 "no" } else when path == "/b" { seal; lookup } else { cookies keep b }',
            None,
            True,
        ),
    ],
)
def test_what_is_left_of_cookies(rules: str, kept: set[bytes] | None, is_sealed: bool) -> None:
    found = depends(f"request {{\n {rules}\n}}")

    assert (None if found.kept is None else found.kept.exact) == kept
    assert found.is_sealed is is_sealed


def test_a_long_chain_is_walked() -> None:
    chain = " else ".join(f'when path == "/{number}" {{ seal; cookies keep c{number} }}' for number in range(100))

    found = depends(f"request {{ {chain} else {{ cookies keep none }} }}")

    assert found.kept is not None
    assert len(found.kept.exact) == 100
