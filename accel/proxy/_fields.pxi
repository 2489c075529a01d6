# What a request's fields mean to a replay: one table a policy, and from it the signature.

cdef enum Kind:
    IGNORED  # nothing that is decided depends on it
    KEYED  # its value joins the signature
    GENERAL  # whatever it says, the general path decides
    CONNECTION  # keep-alive and close are understood, all else is the general path's; rules may read it too
    COOKIE  # some cookies' values join the signature

cdef enum:
    NAME_BYTES = 40
    BUCKETS = 512  # a few dozen names: most unknown ones meet an empty bucket
    MOST_KEYED = 24
    MOST_COOKIES = 16

cdef struct Named:
    uint8_t kind, length, slot
    char[NAME_BYTES] name  # lower case


# The signature: no text in it holds a line end, and an absent value has another mark than an empty one.

cdef enum:
    SIGNATURE_BYTES = 4096

cdef struct Signature:
    size_t size  # over SIGNATURE_BYTES: it did not fit
    char[SIGNATURE_BYTES] bytes


cdef inline void put_byte(Signature *made, char byte) noexcept nogil:
    if made.size < SIGNATURE_BYTES:
        made.bytes[made.size] = byte
    made.size += 1

cdef inline void put_text(Signature *made, const Text *text) noexcept nogil:
    """Append a text and its end; what was absent is a mark of its own."""
    if text.at == NULL:
        put_byte(made, 13)
        return
    if made.size + text.length < SIGNATURE_BYTES:
        memcpy(made.bytes + made.size, text.at, text.length)
    made.size += text.length
    put_byte(made, 10)


cdef inline int bucket_of(const char *name, size_t length) noexcept nogil:
    return (LOWER[<uint8_t>name[0]] * 31 + LOWER[<uint8_t>name[length - 1]] * 7 + LOWER[<uint8_t>name[length // 2]]
            + length * 5) & (BUCKETS - 1)


cdef inline void trim(Text *text) noexcept nogil:
    while text.length and is_space(text.at[0]):
        text.at += 1
        text.length -= 1
    while text.length and is_space(text.at[text.length - 1]):
        text.length -= 1


cdef void read_cookies(const Text *sent, tuple names, Text *values) noexcept:
    """Find the first value of each of `names` in a Cookie field."""
    cdef const char *at = sent.at
    cdef const char *end = sent.at + sent.length
    cdef const char *stop
    cdef Text pair, name
    while at < end:
        stop = <const char *>memchr(at, 59, end - at)
        stop = end if stop == NULL else stop
        pair.at, pair.length = at, stop - at
        trim(&pair)
        at = stop + 1
        if pair.length == 0:
            continue
        name = pair
        stop = <const char *>memchr(pair.at, 61, pair.length)
        if stop != NULL:
            name.length = stop - pair.at
            pair.length -= name.length + 1
            pair.at = stop + 1
        else:
            pair.at, pair.length = pair.at + pair.length, 0
        trim(&name)
        trim(&pair)
        for slot, wanted in enumerate(names):
            if (values[<int>slot].at == NULL and name.length == <size_t>PyBytes_GET_SIZE(wanted)
                    and memcmp(name.at, PyBytes_AS_STRING(wanted), name.length) == 0):
                values[<int>slot] = pair


@cython.final
cdef class FieldTable:
    """The classes of fields under one policy."""

    cdef Named[BUCKETS] names
    cdef int keyed_count, cookie_count
    cdef readonly bint keys_client  # the client's address joins the signature
    cdef bint keys_connection
    cdef tuple cookies

    def __init__(self, general, keyed, cookies, bint keys_client):
        """`general`, `keyed`: names of fields, lower case; `cookies`: names of cookies that matter, if not all do.

        Raises ValueError for more than there is room for: then nothing is replayed under that policy.
        """
        if len(keyed) > MOST_KEYED or len(cookies) > MOST_COOKIES:
            raise ValueError("too many fields matter")
        self.cookies, self.keys_client, self.keyed_count = tuple(cookies), keys_client, len(keyed)
        self.cookie_count = len(self.cookies)
        for name in general:
            self.add(name, GENERAL, 0)
        for slot, name in enumerate(keyed):
            self.add(name, CONNECTION if name == b"connection" else KEYED, slot)
        self.keys_connection = b"connection" in keyed
        self.add(b"connection", CONNECTION, 0)
        if cookies:
            self.add(b"cookie", COOKIE, 0)

    cdef add(self, bytes name, Kind kind, int slot):
        cdef int at
        if not 0 < len(name) <= NAME_BYTES:
            raise ValueError("a field's name is too long")
        at = bucket_of(PyBytes_AS_STRING(name), len(name))
        while self.names[at].length:
            if self.names[at].name[: self.names[at].length] == name:
                return  # general is said first, and stays
            at = (at + 1) & (BUCKETS - 1)
        self.names[at].kind, self.names[at].length, self.names[at].slot = kind, len(name), slot
        memcpy(self.names[at].name, PyBytes_AS_STRING(name), len(name))

    cdef inline Named *find(self, const Text *name) noexcept nogil:
        """Return what a field is, NULL if it is ignored."""
        cdef int at = bucket_of(name.at, name.length)
        while self.names[at].length:
            if is_name(name, self.names[at].name, self.names[at].length):
                return &self.names[at]
            at = (at + 1) & (BUCKETS - 1)
        return NULL

    cdef bint sign(self, Head *head, Signature *made, bint *closes) noexcept:
        """Write what the decision depends on; False if that is more than a replay understands."""
        cdef Text[MOST_KEYED] values
        cdef Text cookie
        cdef Named *named
        cdef int at
        closes[0], cookie.at = False, NULL
        for at in range(self.keyed_count):
            values[at].at = NULL
        for at in range(head.count):
            named = self.find(&head.lines[at].name)
            if named == NULL:
                continue
            if named.kind == KEYED and values[named.slot].at == NULL:
                values[named.slot] = head.lines[at].value
            elif named.kind == COOKIE and cookie.at == NULL:
                cookie = head.lines[at].value
            elif named.kind != CONNECTION:
                return False  # the general path's, or said twice
            elif is_name(&head.lines[at].value, b"close", 5):
                closes[0] = True
            elif not is_name(&head.lines[at].value, b"keep-alive", 10):
                return False
            if named.kind == CONNECTION and self.keys_connection:
                if values[named.slot].at != NULL:
                    return False
                values[named.slot] = head.lines[at].value
        made.size = 0
        put_byte(made, 72 if head.is_head else 71)
        put_text(made, &head.target)
        put_text(made, &head.host)
        for at in range(self.keyed_count):
            put_text(made, &values[at])
        if self.cookie_count:
            self.sign_cookies(&cookie, made)
        return True

    cdef void sign_cookies(self, const Text *sent, Signature *made) noexcept:
        """Write each named cookie's first value, read as `policy.runtime.View.cookies` does."""
        cdef Text[MOST_COOKIES] values
        cdef int at
        for at in range(self.cookie_count):
            values[at].at = NULL
        if sent.at != NULL:
            read_cookies(sent, self.cookies, values)
        for at in range(self.cookie_count):
            put_text(made, &values[at])
