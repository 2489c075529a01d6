# Writing into a buffer that has room: each returns what is behind.

cdef inline char *put_literal(char *at, const char *text, size_t length) noexcept nogil:
    memcpy(at, text, length)
    return at + length

cdef char *put_number(char *at, int64_t value) noexcept nogil:
    """Write a number that is not negative."""
    cdef char[24] digits
    cdef int count = 0
    while value > 9:
        digits[count] = 48 + value % 10
        value //= 10
        count += 1
    at[0] = 48 + value
    at += 1
    while count:
        count -= 1
        at[0] = digits[count]
        at += 1
    return at
