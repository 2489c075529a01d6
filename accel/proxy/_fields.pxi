# What a request's fields mean to a replay: one table a policy, and from it the signature.

cdef enum Kind:
    KEYED  # its value joins the signature
    GENERAL  # whatever it says, the general path decides
    CONNECTION  # keep-alive and close are understood, all else is the general path's; rules may read it too
    COOKIE  # some cookies' values join the signature

cdef enum:
    MOST_NAMES = 512  # of fields that matter, and of cookies
    MOST_PRESENT = 64  # that matter and are in one request


# What of a request is in its signature: in the order of slots, so that the order of lines means nothing.

cdef struct Present:
    int count
    uint16_t[MOST_PRESENT] slots
    Text[MOST_PRESENT] values


cdef bint note_present(Present *present, uint16_t slot, const Text *value, bint first_counts) noexcept nogil:
    """Insert a value by its slot; False if there are too many, or the slot has one and the first does not count."""
    cdef int at = present.count, later
    while at and present.slots[at - 1] >= slot:
        at -= 1
    if at < present.count and present.slots[at] == slot:
        return first_counts
    if present.count == MOST_PRESENT:
        return False
    for later in range(present.count, at, -1):
        present.slots[later] = present.slots[later - 1]
        present.values[later] = present.values[later - 1]
    present.slots[at] = slot
    present.values[at] = value[0]
    present.count += 1
    return True


cdef inline void trim(Text *text) noexcept nogil:
    while text.length and is_space(text.at[0]):
        text.at += 1
        text.length -= 1
    while text.length and is_space(text.at[text.length - 1]):
        text.length -= 1


cdef bint next_pair(Text *left, Text *pair, Text *name) noexcept nogil:
    """Take the next pair, and its name, off a Cookie field as `policy.runtime.cookie_pairs` does; False: none is left."""
    cdef const char *stop
    while left.length:
        stop = <const char *>memchr(left.at, 59, left.length)
        pair.at, pair.length = left.at, left.length if stop == NULL else stop - left.at
        left.at += pair.length + (stop != NULL)
        left.length -= pair.length + (stop != NULL)
        trim(pair)
        if pair.length:
            stop = <const char *>memchr(pair.at, 61, pair.length)
            name.at, name.length = pair.at, pair.length if stop == NULL else stop - pair.at
            trim(name)
            return True
    return False


# The signature: texts that hold no line end, each behind what it is of.

cdef enum:
    SIGNATURE_BYTES = 4096
    COOKIES_MARK = 0x80  # no field's slot begins with it
    MOST_PREFIXES = 32

cdef struct Signature:
    size_t size  # over SIGNATURE_BYTES: it did not fit
    char[SIGNATURE_BYTES] bytes


cdef inline void put_byte(Signature *made, char byte) noexcept nogil:
    if made.size < SIGNATURE_BYTES:
        made.bytes[made.size] = byte
    made.size += 1

cdef inline void put_piece(Signature *made, const Text *text) noexcept nogil:
    """Append a part of a text."""
    if made.size + text.length < SIGNATURE_BYTES:
        memcpy(made.bytes + made.size, text.at, text.length)
    made.size += text.length

cdef inline void put_text(Signature *made, const Text *text) noexcept nogil:
    """Append a text and its end."""
    put_piece(made, text)
    put_byte(made, 10)

cdef void put_present(Signature *made, const Present *present) noexcept nogil:
    cdef int at
    for at in range(present.count):
        put_byte(made, present.slots[at] >> 8)
        put_byte(made, present.slots[at] & 0xFF)
        put_text(made, &present.values[at])


@cython.final
cdef class FieldTable:
    """The classes of fields under one policy; a field that it does not name is ignored."""

    cdef Names fields, cookies
    cdef tuple prefixes
    cdef readonly bint keys_client  # the client's address joins the signature
    cdef bint keys_connection
    cdef int site_at  # where in the counters its requests are counted
    cdef uint8_t edition

    def __init__(self, general, keyed, cookies, prefixes, bint keys_client, int site_at=0, uint8_t edition=0):
        """`general`, `keyed`: names of fields, lower case; `cookies`, `prefixes`: of cookies that matter, if not all do.

        `site_at`: the first word of a site in the counters. `edition`: joins the signatures, in which fields are slots: one
        that was made before more came to matter says another thing.

        Raises ValueError for more than there is room for: then nothing is replayed under that policy.
        """
        if len(keyed) > MOST_NAMES or len(cookies) > MOST_NAMES or len(prefixes) > MOST_PREFIXES:
            raise ValueError("too many fields matter")
        self.site_at, self.edition = site_at, edition
        self.fields, self.keys_client, self.keys_connection = Names(len(keyed)), keys_client, b"connection" in keyed
        for name in general:  # said first: they stay what they are
            self.fields.add(name, GENERAL, 0)
        for slot, name in enumerate(keyed):
            self.fields.add(name, CONNECTION if name == b"connection" else KEYED, slot)
        self.fields.add(b"connection", CONNECTION, 0)
        self.cookies, self.prefixes = Names(len(cookies)), tuple(prefixes)
        if cookies or prefixes:
            self.fields.add(b"cookie", COOKIE, 0)
        for name in cookies:
            self.cookies.add(name, KEYED, 0)

    cdef bint sign(self, Head *head, Signature *made, bint *closes) noexcept:
        """Write what the decision depends on; False if that is more than a replay understands."""
        cdef Present present
        cdef Text *value
        cdef Text cookie
        cdef Named *named
        cdef int at
        closes[0], cookie.at, present.count = False, NULL, 0
        for at in range(head.count):
            named = self.fields.field(&head.lines[at].name)
            if named == NULL:
                continue
            value = &head.lines[at].value
            if named.kind == CONNECTION:
                if is_name(value, b"close", 5):
                    closes[0] = True
                elif not is_name(value, b"keep-alive", 10):
                    return False
            elif named.kind == COOKIE and cookie.at == NULL:
                cookie = value[0]
                continue
            elif named.kind != KEYED:
                return False  # the general path's, or said twice
            if named.kind == KEYED or self.keys_connection:
                if not note_present(&present, named.slot, value, False):
                    return False
        made.size = 0
        put_byte(made, 72 if head.is_head else 71)
        put_text(made, &head.target)
        put_text(made, &head.host)
        put_byte(made, <char>self.edition)
        put_present(made, &present)
        if cookie.at != NULL:
            self.sign_cookies(&cookie, made)
        return True

    cdef void sign_cookies(self, const Text *sent, Signature *made) noexcept:
        """Write the pairs that matter, as they were sent; none of them does: as if no Cookie had been sent.

        If all do, the field as it is, since then an edit leaves it so (`policy.edits.edited_cookies`).
        """
        cdef size_t begun = made.size
        cdef Text left = sent[0], pair, name
        cdef bint is_whole = True
        while next_pair(&left, &pair, &name):
            if not self.is_named(&name):
                is_whole = False
                continue
            put_byte(made, COOKIES_MARK if made.size == begun else 59)
            put_byte(made, 32)
            put_piece(made, &pair)
        if is_whole:
            made.size = begun  # one without a pair, too: it is no absent one
            put_byte(made, COOKIES_MARK)
            put_byte(made, 32)
            put_piece(made, sent)
        if made.size > begun:
            put_byte(made, 10)

    cdef bint is_named(self, const Text *name) noexcept:
        """Whether a cookie of this name matters."""
        if self.cookies.cookie(name) != NULL:
            return True
        for start in self.prefixes:
            if (name.length >= <size_t>PyBytes_GET_SIZE(start)
                    and memcmp(name.at, PyBytes_AS_STRING(start), PyBytes_GET_SIZE(start)) == 0):
                return True
        return False
