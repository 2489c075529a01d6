"""What a ban matches, and what its errors say."""

import pytest

from accel.caching.ban import Subject, parse
from accel.http.message import Fields

PAGE = Subject(
    host=b"www.example.org:8080",
    target=b"/shop/list?page=2&sort=a",
    status=404,
    age_s=600.0,
    fields=lambda: Fields([(b"content-type", b"text/html; charset=utf-8"), (b"x-note", b'say "a\\b"')]),
)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("url == /shop/list?page=2&sort=a", True),
        ("url == /shop", False),
        ("url != /shop", True),
        ("url ~ ^/shop/", True),
        ("url ~ ^/SHOP/", False),
        ("url !~ ^/shop/", False),
        (r'url ~ "page=\d&sort"', True),
        ("req.url~^/shop/", True),
        ("host == WWW.example.ORG:8080", True),
        ("req.http.host ~ ^WWW[.]", True),
        ("host == example.org", False),
        ("status == 404", True),
        ("status<404", False),
        ("obj.status >= 400 && status < 500", True),
        ("status != 200 && url ~ ^/news", False),
        ("age > 5m", True),
        ("age < 5m", False),
        ("obj.age <= 600s", True),
        ("age >= 0.25h", False),
        ("age < 1d && age > 599999ms", True),
        ("field.Content-Type ~ ^text/", True),
        ("obj.http.content-type == text/html", False),
        ('field.x-note == "say \\"a\\\\b\\""', True),
        ("field.x-none == x", False),
        ("field.x-none ~ .", False),
        ("field.x-none != x", True),
        ("field.x-none !~ .", True),
        ("field.x-note ~ say&&url ~ ^/shop/", True),
        ("  url ~ shop  &&\tstatus == 404 ", True),
    ],
)
def test_a_ban_matches_what_all_its_conditions_hold_for(text: str, matches: bool) -> None:
    assert parse(text).matches(PAGE) is matches


def test_fields_are_not_decoded_for_what_a_cheaper_condition_rules_out() -> None:
    def decoded() -> Fields:
        raise AssertionError

    page = Subject(b"h", b"/", 200, 0.0, decoded)

    assert not parse("field.x == 1 && url == /other").matches(page)


def test_a_field_of_any_bytes_is_matched_as_it_is() -> None:
    page = Subject(b"h", b"/", 200, 0.0, lambda: Fields([(b"x", b"a\xff\x80z")]))

    assert parse("field.x ~ ^a..z$").matches(page)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "column 1: something is missing; begin with a name: url, host, status, age or field.NAME"),
        ("ulr == /", "column 1: 'ulr' is not known; write url, host, status, age or field.NAME"),
        ("req.http.cookie ~ x", "column 1: 'req.http.cookie' is not known; write url, host,"),
        ("field. == x", "column 1: 'field.' names no field; write a field of the response"),
        ("url /a", "column 5: '/a' is out of place; compare a text by == != ~ !~"),
        ("url = /a", "column 5: '=' does not compare a text; write == != ~ !~"),
        ("url < /a", "column 5: '<' does not compare a text; write == != ~ !~"),
        ("status ~ 4", "column 8: '~' does not compare status; write == != < <= > >="),
        ("status == abc", "column 11: 'abc' is no status; write a number such as 404"),
        ("age > 10", "column 7: '10' is no age; write a number and its unit, such as 30s, 10m, 1d"),
        ("url ~", 'column 6: something is missing; write a word, or "text" in quotes'),
        ('url ~ "a', "column 7: '\"a' is out of place; write a word, or"),
        ("url ~ a b", "column 9: 'b' is out of place; join conditions with &&"),
        ("url ~ a &&", "column 11: something is missing; begin with a name"),
        ("url ~ (a", "column 7: no regular expression (missing ): (a); see RE2's syntax"),
        (r"url ~ (a)\1", "column 7: no regular expression (invalid escape sequence: \\1)"),
    ],
)
def test_an_error_says_where_what_and_how_to_mend_it(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value).startswith(said)
