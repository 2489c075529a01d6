# One decided answer, and what must still be so for it to be given again.

cdef enum:
    MOST_CELLS = 12
    TAIL_BYTES = 160

cdef extern from *:
    """
    #define ACCEL_LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    """
    uint64_t ACCEL_LOAD(const uint64_t *at) nogil


@cython.final
@cython.no_gc
cdef class Replay:
    """What `Hot.keep` remembers under one signature."""

    cdef Glance glance  # of the stored response
    cdef Glance listed  # of the list that names it among variants; None: it is no variant
    cdef bytes head  # up to the lines that differ from one answer to the next
    cdef object note  # called with how often it was replayed since, at most once a second
    cdef double initial_age_s, response_at, lifetime_s  # as in `caching.stored.Stored`
    cdef uint64_t number, world, edition  # as in `proxy.covering`
    cdef uint64_t[MOST_CELLS] cells
    cdef int cell_count
    cdef bint has_body, is_not_modified
    cdef bytes host, rule, tags  # for the log
    cdef int status
    cdef double noted_at
    cdef uint64_t unnoted

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
        return self.glance.take()

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
        if self.number < ACCEL_LOAD(words + ALL_HARD) or self.number < ACCEL_LOAD(words + ALL_SOFT):
            return False
        for at in range(self.cell_count):
            if self.number < ACCEL_LOAD(words + self.cells[at]) or self.number < ACCEL_LOAD(words + self.cells[at] + 1):
                return False
        return True

    cdef size_t tail(self, char *into, double age_s, bint closes) noexcept:
        """Write the lines that differ, and the empty one; return their bytes, at most TAIL_BYTES."""
        cdef char *at = into
        at = put_literal(at, b"Age: ", 5)
        at = put_number(at, <int64_t>age_s)
        at = put_literal(at, b"\r\nCache-Status: accel; hit; ttl=", 32)
        at = put_number(at, <int64_t>floor(self.lifetime_s - age_s))
        if closes:
            at = put_literal(at, b"\r\nConnection: close", 19)
        return put_literal(at, b"\r\n\r\n", 4) - into
