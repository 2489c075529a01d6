# One decided answer, and what must still be so for it to be given again.

cdef enum:
    MOST_CELLS = 12
    TAIL_BYTES = 160

cdef extern from *:
    """
    #define ACCEL_LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    """
    uint64_t ACCEL_LOAD(const uint64_t *at) nogil


cdef struct Told:
    # For the log.
    Text host, rule, tags
    uint64_t key_hash


@cython.final
@cython.no_gc
cdef class Replay(Glance):
    """What `Hot.keep` remembers under one signature; as a glance, of the stored response."""

    cdef char *text  # one block: the signature, the head up to the lines that differ each time, and what is logged
    cdef size_t signature_length, head_length, text_length
    cdef bint has_body, is_not_modified
    cdef bint was_used  # since `Memory` last asked
    cdef int status, cell_count
    cdef double initial_age_s, response_at, lifetime_s  # as in `caching.stored.Stored`
    cdef uint64_t world, unnoted
    cdef double noted_at
    cdef Glance listed  # of the list that names it among variants; None: it is no variant
    cdef Told told
    cdef uint64_t covered_from, edition  # `number` and `edition` of `proxy.covering`
    cdef uint64_t[MOST_CELLS] cells
    cdef object note  # called with how often it was replayed since, now and then

    def __dealloc__(self):
        free(self.text)

    cdef take_texts(self, bytes signature, bytes head, bytes host, bytes rule, bytes tags):
        """Lay all texts out in one block."""
        cdef bytes all = b"".join((signature, head, host, rule, tags))
        cdef char *at
        self.text = <char *>malloc(PyBytes_GET_SIZE(all))
        if self.text == NULL:
            raise MemoryError
        self.text_length = PyBytes_GET_SIZE(all)
        self.signature_length, self.head_length = PyBytes_GET_SIZE(signature), PyBytes_GET_SIZE(head)
        memcpy(self.text, PyBytes_AS_STRING(all), self.text_length)
        at = self.text + self.signature_length + self.head_length
        self.told.host.at, self.told.host.length = at, PyBytes_GET_SIZE(host)
        self.told.rule.at, self.told.rule.length = at + len(host), PyBytes_GET_SIZE(rule)
        self.told.tags.at, self.told.tags.length = at + len(host) + len(rule), PyBytes_GET_SIZE(tags)

    cdef inline bint is_for(self, const char *signature, size_t length) noexcept:
        return self.signature_length == length and memcmp(self.text, signature, length) == 0

    cdef inline void fetch(self) noexcept nogil:
        """Have the memory begin to bring what `stands` and the answer will read."""
        ACCEL_PREFETCH(self.slot)
        ACCEL_PREFETCH(self.record)
        ACCEL_PREFETCH(self.body)
        ACCEL_PREFETCH(self.text + self.signature_length + 64)

    cdef bint stands(self, const uint64_t *words, double age_s) noexcept:
        """Whether it may be given: then the record is pinned. Invalidations are looked up as `covering` does."""
        cdef uint64_t world
        if age_s >= self.lifetime_s:
            return False
        world = ACCEL_LOAD(words + WORLD)
        if world != self.world:
            if not self.is_uncovered(words):
                return False
            self.world = world
        if self.listed is not None:
            if not self.listed.take():
                return False
            self.listed.leave()
        return self.take()

    cdef settle(self):
        """Say how often it was replayed since that was said last."""
        if self.unnoted:
            count, self.unnoted = self.unnoted, 0
            self.note(count)

    cdef bint is_uncovered(self, const uint64_t *words) noexcept:
        """Whether no invalidation came that covers it; after `world` was loaded."""
        cdef int at
        if ACCEL_LOAD(words + EDITION) != self.edition:
            return False
        if self.covered_from < ACCEL_LOAD(words + ALL_HARD) or self.covered_from < ACCEL_LOAD(words + ALL_SOFT):
            return False
        for at in range(self.cell_count):
            if self.covered_from < ACCEL_LOAD(words + self.cells[at]) or self.covered_from < ACCEL_LOAD(words + self.cells[at] + 1):
                return False
        return True

    cdef size_t tail(self, char *into, double age_s, bint closes) noexcept:
        """Write the lines that differ, and the empty one; return their bytes, at most TAIL_BYTES."""
        cdef char *at = into
        at = put_literal(at, b"Age: ", 5)
        at = put_number(at, <int64_t>age_s)
        at = put_literal(at, b"\r\nCache-Status: accel; hit; ttl=", 32)
        at = put_number(at, <int64_t>(self.lifetime_s - age_s))  # more than nothing is left: rounded down
        if closes:
            at = put_literal(at, b"\r\nConnection: close", 19)
        return put_literal(at, b"\r\n\r\n", 4) - into
