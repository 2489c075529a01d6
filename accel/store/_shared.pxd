# What other compiled modules may use of the shared store; what each step means stands in `_glance.pxi`.

from libc.stdint cimport uint64_t

cdef class Glance:
    cdef object store
    cdef uint64_t *slot
    cdef uint64_t value, number
    cdef void *record
    cdef const char *body  # of a whole one
    cdef uint64_t length  # of the body, bytes
    cdef bint is_whole  # not in pieces

    cdef bint take(self) noexcept
    cdef void leave(self) noexcept
    cdef object keep(self)


cdef bint has_record(object store, bytes key) except -1
cdef bint put_record(object store, bytes key, const char *meta, size_t meta_length, const char *body, size_t length) except -1
