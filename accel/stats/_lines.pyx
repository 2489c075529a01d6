# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled side of `access_log`: Combined Log Format straight from a ring's bytes, as `combined_line` writes it."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    EXCHANGE = 1
    PREFIX_BYTES = 8
    FIXED_BYTES = 104
    NUMBER_AT = 8
    AT_AT = 16
    BODY_BYTES_AT = 32
    STATUS_AT = 52
    MINOR_AT = 54
    LENGTHS_AT = 58
    CHECKSUM_AT = 100
    TEXTS = 11
    LINE_BYTES = 160  # of a line, at most, without its texts
    ESCAPED = 4  # bytes that a byte of a text becomes, at most

cdef double LAST_AT = 2.0 ** 33  # as in `records`


cdef struct Out:
    char *at


def combined_lines(bytes chunk not None, clf_time):
    """Return lines, and the numbers of the first and the last record; None for bytes that only Python reads right."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(chunk)
    cdef size_t end = PyBytes_GET_SIZE(chunk), at = 0
    cdef char *start = <char *> PyMem_Malloc(end * ESCAPED + (end // FIXED_BYTES + 1) * LINE_BYTES)
    cdef Out out
    cdef uint64_t first = 0, last = 0, second, known = 0
    cdef bytes stamp = b""
    cdef double began_at
    cdef uint32_t length
    if start == NULL:
        raise MemoryError
    out.at = start
    try:
        while end - at >= PREFIX_BYTES:
            length = word32(data + at)
            if length % 8 or length < PREFIX_BYTES or length > end - at:
                break
            if word16(data + at + 4) == EXCHANGE:
                if length < FIXED_BYTES:
                    break
                memcpy(&began_at, data + at + AT_AT, 8)
                if texts_end(data + at) <= length and 0 <= began_at <= LAST_AT:
                    if word32(data + at + CHECKSUM_AT) or not is_plain(data + at):
                        return None
                    second = <uint64_t> began_at
                    if second != known or not stamp:
                        known, stamp = second, clf_time(second).encode()
                    line(&out, data + at, PyBytes_AS_STRING(stamp), PyBytes_GET_SIZE(stamp))
                    last = word64(data + at + NUMBER_AT)
                    first = first or last
            at += length
        return PyBytes_FromStringAndSize(start, out.at - start), first, last
    finally:
        PyMem_Free(start)


cdef void line(Out *out, const uint8_t *record, const char *stamp, size_t stamp_bytes) noexcept nogil:
    cdef const uint8_t *text = record + FIXED_BYTES
    cdef const uint8_t *texts[TEXTS]
    cdef int n
    for n in range(TEXTS):
        texts[n] = text
        text += length_of(record, n)
    put(out, <const char *> texts[0], length_of(record, 0))
    put(out, b" - - [", 6)
    put(out, stamp, stamp_bytes)
    put(out, b'] "', 3)
    escaped(out, texts[1], length_of(record, 1))
    put(out, b" ", 1)
    escaped(out, texts[3], length_of(record, 3))
    put(out, b" HTTP/1.", 8)
    number(out, record[MINOR_AT])
    put(out, b'" ', 2)
    number(out, word16(record + STATUS_AT))
    put(out, b" ", 1)
    number(out, word64(record + BODY_BYTES_AT))
    put(out, b' "', 2)
    escaped_or_dash(out, texts[4], length_of(record, 4))
    put(out, b'" "', 3)
    escaped_or_dash(out, texts[5], length_of(record, 5))
    put(out, b'"\n', 2)


cdef bint is_plain(const uint8_t *record) noexcept nogil:
    """Whether the client's address is ASCII; of a record whose texts end where they may."""
    cdef int n
    for n in range(length_of(record, 0)):
        if record[FIXED_BYTES + n] > 126:
            return False
    return True


cdef inline uint64_t texts_end(const uint8_t *record) noexcept nogil:
    cdef uint64_t end = FIXED_BYTES
    cdef int n
    for n in range(TEXTS):
        end += length_of(record, n)
    return end


cdef inline uint16_t length_of(const uint8_t *record, int text) noexcept nogil:
    return word16(record + LENGTHS_AT + 2 * text)


cdef inline void escaped_or_dash(Out *out, const uint8_t *text, size_t length) noexcept nogil:
    if length:
        escaped(out, text, length)
    else:
        put(out, b"-", 1)


cdef inline void escaped(Out *out, const uint8_t *text, size_t length) noexcept nogil:
    cdef const char *digits = b"0123456789abcdef"
    cdef size_t n
    cdef uint8_t one
    for n in range(length):
        one = text[n]
        if 32 <= one <= 126 and one != 34 and one != 92:
            out.at[0] = one
            out.at += 1
        else:
            out.at[0], out.at[1], out.at[2], out.at[3] = 92, 120, digits[one >> 4], digits[one & 15]
            out.at += 4


cdef inline void put(Out *out, const char *text, size_t length) noexcept nogil:
    memcpy(out.at, text, length)
    out.at += length


cdef inline void number(Out *out, uint64_t value) noexcept nogil:
    cdef char[24] digits
    cdef int count = 0
    while value or not count:
        digits[count] = <char> (48 + value % 10)
        value //= 10
        count += 1
    while count:
        count -= 1
        out.at[0] = digits[count]
        out.at += 1


cdef inline uint16_t word16(const uint8_t *place) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, place, 2)
    return value


cdef inline uint32_t word32(const uint8_t *place) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return value


cdef inline uint64_t word64(const uint8_t *place) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, place, 8)
    return value
