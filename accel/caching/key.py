"""Cache keys: which stored response a request may be answered from (RFC 9111 §2, §4.1).

Owns how requests are told apart; knows no store. Invariant: two requests share a key only if one may be given
the other's response; where equal meaning is not certain, keys differ.
RFC 9110 §12.5.3, §12.5.5.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from accel.http.fields import OWS, hop_by_hop, is_token, parse_list
from accel.http.message import Fields, Request

EXTRA = b":key"
"""Stands among the names of fields for what rules joined to the key (`Request.key_extra`); no field is called so."""

_ABSENT = b"-"
_COMMA = re.compile(rb"[ \t]*,[ \t]*")
_WEIGHT = re.compile(rb"[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")

_LISTS = frozenset({b"accept", b"accept-charset", b"accept-language"})
"""Fields in which space around commas means nothing; in Cookie or User-Agent it is part of the value."""

_ABOUT_THE_CLIENT = frozenset({b"forwarded", b"x-forwarded-for", b"x-real-ip"})
"""What proxies tell an origin about a client: it saw another value than the request here has."""

_WILDCARD_CODINGS = frozenset({b"br", b"deflate", b"gzip", b"zstd"})
"""What `*` in Accept-Encoding stands for here: the codings in use."""

_ALIASES = {b"x-gzip": b"gzip", b"x-compress": b"compress"}


def primary_key(host: bytes, target: bytes) -> bytes:
    """Return the key of a target; `host` in key form, `target` exactly as it goes to the origin."""
    return host + b"\0" + target


def variant_key(primary: bytes, generation: int, values: bytes) -> bytes:
    """Return the key of one variant: `generation` is its variant list's, `values` from `selecting_values`."""
    return b"%b\0%d\0%b" % (primary, generation, values)


def vary_names(fields: Fields) -> tuple[bytes, ...] | None:
    """Return the fields that a response varies on, sorted; None if no request can match (RFC 9111 §4.1)."""
    value = fields.get(b"vary")
    if value is None:
        return ()
    names = frozenset(parse_list(value.lower()))
    if b"*" in names or not names.isdisjoint(_ABOUT_THE_CLIENT) or not all(map(is_token, names)):
        return None
    return tuple(sorted(names))


def variant_names(request: Request, fields: Fields) -> tuple[bytes, ...] | None:
    """Return what the response to a request is selected by: Vary's fields, and EXTRA where rules joined something."""
    names = vary_names(fields)
    return (EXTRA, *names) if names is not None and request.key_extra else names


def selecting_values(request: Request, names: Sequence[bytes]) -> bytes:
    """Return the request's values of the fields `names`, joined so that no two sets of values look alike.

    A field that Connection takes out counts as absent, as it is for the origin: else the answer to a request
    without the field would lie where those with it look.
    """
    fields = request.fields
    dropped = hop_by_hop(fields.get(b"connection"))
    extra = _framed(request.key_extra) if EXTRA in names else b""
    return extra + b"".join(
        _ABSENT if name in dropped else _framed(_normalized(name, fields.get(name))) for name in names if name != EXTRA
    )


def _framed(value: bytes | None) -> bytes:
    return _ABSENT if value is None else b"%d:%b" % (len(value), value)


def _normalized(name: bytes, value: bytes | None) -> bytes | None:
    if value is None:
        return None
    if name == b"accept-encoding":
        return codings(value)
    if name in _LISTS and b'"' not in value:
        return _COMMA.sub(b",", value)
    return value


@lru_cache(maxsize=256)
def codings(value: bytes) -> bytes:
    """Return the acceptable codings of an Accept-Encoding, sorted; `value` itself if it is malformed.

    A coding outside the usual ones counts, and so does a refusal of identity: the origin may act on either.
    """
    weights = _weights(value)
    if weights is None:
        return value
    wildcard = weights.pop(b"*", None)
    identity = weights.pop(b"identity", wildcard is not False)
    accepted = {coding for coding, accepts in weights.items() if accepts}
    if wildcard:
        accepted |= _WILDCARD_CODINGS - weights.keys()
    return b",".join(sorted(accepted)) + (b"" if identity else b",identity;q=0")


def _weights(value: bytes) -> dict[bytes, bool] | None:
    """Return for each coding whether its weight is above zero; None if the value is malformed."""
    weights: dict[bytes, bool] = {}
    for member in parse_list(value.lower()):
        coding, semicolon, parameter = member.partition(b";")
        coding = coding.rstrip(OWS)
        weight = _WEIGHT.fullmatch(parameter.strip(OWS))
        if not is_token(coding) or (semicolon and weight is None):
            return None
        accepts = weight is None or weight[1].strip(b"0.") != b""
        coding = _ALIASES.get(coding, coding)
        if weights.setdefault(coding, accepts) != accepts:
            return None
    return weights
