# Heads on their way through: the client's lines as the origin gets them, the origin's as the client does. What
# `proxy.origin_view`, `http.response_parser` and `proxy.deliver` do to plain ones; others are not understood here.

from accel.http.fields import HOP_BY_HOP
from accel.http.writer import ODD_NAMES
from accel.proxy.origin_view import FORWARDED_PREFIX, POISON

cdef enum:
    OUT_BYTES = 128 * 1024
    WINDOW_BYTES = 64 * 1024  # of a body; longer ones need a client that is waited for

cdef enum Means:
    DROPPED = 1
    CONNECTS = 2  # Connection, of which only one option is understood
    LENGTH = 4
    DATED = 8
    JUDGED = 16  # what it says may forbid to store a response
    NOTED = 64  # that it is there may
    STRANGE = 32  # a response with it is the general path's

cdef struct ResponseHead:
    int status, count
    Text reason
    Line[MOST_LINES] lines
    uint8_t[MOST_LINES] kinds
    uint16_t[MOST_LINES] odd
    Text length  # of the body, as it was sent; NULL: not said
    Text date  # NULL: not said
    bint closes
    size_t size  # up to the end of the empty line

JUDGED_FIELDS = (b"cache-control", b"cdn-cache-control", b"vary")
"""What says of a response whether, and on what terms, it is stored."""
NOTED_FIELDS = (
    b"age", b"cache-tag", b"content-range", b"expires", b"set-cookie", b"set-cookie2", b"surrogate-key", b"xkey",
)
"""Of these it is only asked whether they are there: those that forbid it whatever they say, and those that want more
thought (`relay._MORE_THOUGHT`)."""

_ODD = tuple(ODD_NAMES.values())
"""Names that are not written as their letters suggest; a slot is one more than a place here."""


cdef Names request_names():
    """Return what a request's fields mean to who sends it on."""
    made = {name: DROPPED for name in HOP_BY_HOP | POISON}
    return named(made | {b"connection": CONNECTS})


cdef bytes without_target(bytes signature):
    """Return what of a signature is not the target."""
    return signature[:1] + signature[signature.find(b"\n"):]


cdef Names response_names():
    """Return what a response's fields mean to who passes it on."""
    made = {name: DROPPED for name in HOP_BY_HOP | {b"trailer"}}
    made |= {b"connection": CONNECTS, b"content-length": LENGTH, b"date": DATED}
    made |= {name: STRANGE for name in (b"transfer-encoding", b"upgrade", b"close")}
    return named(made | {name: JUDGED for name in JUDGED_FIELDS} | {name: NOTED for name in NOTED_FIELDS})


cdef Names named(dict meanings):
    cdef Names made = Names(len(meanings) + len(_ODD))
    odd = {name: slot for slot, name in enumerate(ODD_NAMES, 1)}
    for name in (*meanings, *odd):
        made.add(name, meanings.get(name, 0), odd.get(name, 0))
    return made


# Writing.

cdef inline char *put_bytes(char *at, bytes text) noexcept:
    return put_literal(at, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))

cdef char *put_name(char *at, const Text *name) noexcept nogil:
    """Write a field's name in the case that people expect (`http.writer.canonical_name`)."""
    cdef size_t place
    cdef uint8_t byte
    cdef bint begins = True
    for place in range(name.length):
        byte = LOWER[<uint8_t>name.at[place]]
        at[place] = byte - 32 if begins and 97 <= byte <= 122 else byte
        begins = byte == 45
    return at + name.length


cdef char *put_line(char *at, const Line *line, int slot):
    """Write a field line."""
    at = put_bytes(at, <bytes>_ODD[slot - 1]) if slot else put_name(at, &line.name)
    at = put_literal(at, b": ", 2)
    at = put_literal(at, line.value.at, line.value.length)
    return put_literal(at, b"\r\n", 2)


# Requests.

cdef char *put_own_lines(char *at, const Head *head, Names names) except? NULL:
    """Write the client's lines that go on; NULL: they hold more than is understood."""
    cdef const Line *line
    cdef Named *found
    cdef int number
    for number in range(head.count):
        line = &head.lines[number]
        found = names.field(&line.name)
        if found != NULL and found.kind & CONNECTS:
            if not is_name(&line.value, b"keep-alive", 10):
                return NULL
        elif not (found != NULL and found.kind & DROPPED) and not is_forged(&line.name, names):
            at = put_line(at, line, 0 if found == NULL else found.slot)
    return at


cdef bint is_forged(const Text *name, Names names) noexcept:
    """Whether a field says what only we may say, read as CGI does (`origin_view._is_poison`)."""
    cdef char[NAME_BYTES] plain
    cdef Text seen
    cdef Named *found
    cdef size_t at
    if LOWER[<uint8_t>name.at[0]] != 120 and memchr(name.at, 95, name.length) == NULL:
        return False  # neither x-forwarded-..., nor with an underscore
    seen.at, seen.length = plain, min(name.length, <size_t>NAME_BYTES)
    for at in range(seen.length):
        plain[at] = 45 if name.at[at] == 95 else LOWER[<uint8_t>name.at[at]]
    if seen.length >= FORWARDED_LENGTH and memcmp(plain, FORWARDED_AT, FORWARDED_LENGTH) == 0:
        return True
    if name.length > NAME_BYTES or memchr(name.at, 95, name.length) == NULL:
        return False
    found = names.field(&seen)
    return found != NULL and found.kind & DROPPED and seen_in(POISON, &seen)

cdef bint seen_in(names, const Text *name) noexcept:
    return name.at[: name.length] in names

cdef bytes _forwarded = FORWARDED_PREFIX
cdef const char *FORWARDED_AT = PyBytes_AS_STRING(_forwarded)
cdef size_t FORWARDED_LENGTH = PyBytes_GET_SIZE(_forwarded)


cdef bint note_browser(const Head *head, Text *target, Text *user_agent, Text *referer) noexcept nogil:
    """Note what the log says of a request; False: it says it in several lines."""
    cdef const Line *line
    cdef int number
    target[0] = head.target
    user_agent.at, user_agent.length, referer.at, referer.length = NULL, 0, NULL, 0
    for number in range(head.count):
        line = &head.lines[number]
        if is_name(&line.name, b"user-agent", 10):
            if user_agent.at != NULL:
                return False
            user_agent[0] = line.value
        elif is_name(&line.name, b"referer", 7):
            if referer.at != NULL:
                return False
            referer[0] = line.value
    return True


# Responses.

cdef bint scan_response(const char *data, size_t length, const Bounds *bounds, Names names, ResponseHead *head) noexcept:
    """Read the final head that `data` begins with; False if it is not whole, or more than is understood here."""
    cdef const char *end = data + length
    cdef const char *at = data
    cdef Line *line
    if length < 19 or memcmp(data, b"HTTP/1.1 ", 9) != 0 or data[12] != 32:
        return False
    head.status = number_at(data + 9)
    if not 200 <= head.status <= 599:
        return False
    at = <const char *>memchr(data + 13, 13, min(length - 13, <size_t>256))
    if at == NULL or at == data + 13 or at + 2 >= end or at[1] != 10:
        return False
    head.reason.at, head.reason.length = data + 13, at - (data + 13)
    if not is_ascii(&head.reason):
        return False
    at += 2
    head.count, head.length.at, head.date.at, head.closes = 0, NULL, NULL, False
    while at[0] != 13:
        if head.count >= bounds.fields:
            return False
        line = &head.lines[head.count]
        at = scan_line(at, end, line)
        if at == NULL or at == end or line.name.length + line.value.length > bounds.field_bytes:
            return False
        if not note_line(head, line, names.field(&line.name)):
            return False
        head.count += 1
    if end - at < 2 or at[1] != 10 or <size_t>(at + 2 - data) > bounds.head_bytes:
        return False
    head.size = at + 2 - data
    return True


cdef bint note_line(ResponseHead *head, const Line *line, const Named *found) noexcept:
    """Note what a line means; False: it is not understood."""
    head.kinds[head.count] = 0 if found == NULL else found.kind
    head.odd[head.count] = 0 if found == NULL else found.slot
    if found == NULL:
        return True
    if found.kind & STRANGE:
        return False
    if found.kind & CONNECTS:
        head.kinds[head.count] |= DROPPED
        if not is_name(&line.value, b"close", 5):
            return is_name(&line.value, b"keep-alive", 10)
        head.closes = True
    elif found.kind & LENGTH:
        if head.length.at != NULL or not is_number(&line.value):
            return False
        head.kinds[head.count] |= DROPPED
        head.length = line.value
    elif found.kind & DATED:
        if head.date.at != NULL:
            return False
        head.date = line.value
    return True


cdef list lines_of(const ResponseHead *head):
    """Return the fields as `http.message.Fields` has them."""
    cdef const Line *line
    cdef int number
    made = []
    for number in range(head.count):
        line = &head.lines[number]
        made.append((line.name.at[: line.name.length].lower(), line.value.at[: line.value.length]))
    return made


cdef char *put_passed_lines(char *at, const ResponseHead *head):
    """Write the origin's lines that go on."""
    cdef int number
    for number in range(head.count):
        if not head.kinds[number] & DROPPED:
            at = put_line(at, &head.lines[number], head.odd[number])
    return at


cdef bint is_ascii(const Text *text) noexcept nogil:
    """Whether there is nothing but visible characters and spaces."""
    cdef size_t at
    for at in range(text.length):
        if not 32 <= text.at[at] <= 126:
            return False
    return True

cdef bint is_number(const Text *text) noexcept nogil:
    cdef size_t at
    if not 0 < text.length <= 18:
        return False
    for at in range(text.length):
        if not 48 <= text.at[at] <= 57:
            return False
    return True

cdef uint64_t number_of(const Text *text) noexcept nogil:
    cdef uint64_t value = 0
    cdef size_t at
    for at in range(text.length):
        value = value * 10 + <uint8_t>(text.at[at] - 48)
    return value

cdef int number_at(const char *at) noexcept nogil:
    """Return the number of three digits; 0: they are none."""
    cdef Text text
    text.at, text.length = at, 3
    return <int>number_of(&text) if is_number(&text) else 0


# What is stored beside a body: `caching.stored` says what it is.

cdef extern from *:
    """
    typedef struct __attribute__((packed)) {
        uint8_t version, kind;
        uint16_t status, reason_length, count;
        uint64_t number;
        double response_at, initial_age_s;
        uint32_t tags_length;
        double request_at, lifetime_s, grace_s, if_error_s, keep_s;
        uint8_t source, flags;
    } StoredHead;
    typedef struct __attribute__((packed)) { uint16_t name; uint32_t value; } StoredLine;
    """
    ctypedef struct StoredHead:
        uint16_t reason_length, count
        uint64_t number
        double response_at, initial_age_s, request_at
    ctypedef struct StoredLine:
        uint16_t name
        uint32_t value


cdef char *put_meta(char *into, const ResponseHead *head, StoredHead *form, bytes date):
    """Write a stored response without tags; `date`: what it gets for one, empty if it has its own."""
    cdef char *at = into + sizeof(StoredHead)
    cdef Line added
    cdef int number
    form.reason_length, form.count = head.reason.length, 0
    at = put_literal(at, head.reason.at, head.reason.length)
    for number in range(head.count):
        if not head.kinds[number] & DROPPED:
            at = put_stored_line(at, &head.lines[number])
            form.count += 1
    if date:
        added.name.at, added.name.length = b"date", 4
        added.value.at, added.value.length = PyBytes_AS_STRING(date), PyBytes_GET_SIZE(date)
        at = put_stored_line(at, &added)
        form.count += 1
    memcpy(into, form, sizeof(StoredHead))
    return at


cdef char *put_stored_line(char *at, const Line *line) noexcept nogil:
    cdef StoredLine lengths
    cdef size_t place
    lengths.name, lengths.value = line.name.length, line.value.length
    memcpy(at, &lengths, sizeof(StoredLine))
    at += sizeof(StoredLine)
    for place in range(line.name.length):
        at[place] = LOWER[<uint8_t>line.name.at[place]]
    return put_literal(at + line.name.length, line.value.at, line.value.length)
