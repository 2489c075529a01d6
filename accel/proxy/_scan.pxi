# One request's head, read only if it is fully understood: a strict subset of what `http.request_parser` takes, with the
# same meaning. RFC 9112 §2.2, §3, §5; anything else is "not understood", never an error.

cdef enum:
    MOST_LINES = 64

cdef struct Text:
    const char *at
    size_t length

cdef struct Line:
    Text name, value

cdef struct Head:
    Text target
    Text host  # as it was sent, without the space around it
    Line[MOST_LINES] lines  # all but Host
    int count
    size_t size  # up to the end of the empty line
    bint is_head  # HEAD; else GET

cdef struct Bounds:
    size_t head_bytes, target_bytes, field_bytes
    int fields

cdef uint8_t[256] IN_TARGET, IN_NAME, LOWER

cdef void fill_tables() noexcept:
    """Note what may stand where, and the lower case of each byte."""
    cdef int byte
    for byte in range(256):
        LOWER[byte] = byte | 0x20 if 65 <= byte <= 90 else byte
        IN_NAME[byte] = chr(byte) in "!#$%&'*+-.^_`|~" or (byte < 128 and chr(byte).isalnum())
        IN_TARGET[byte] = chr(byte) in "-._~!$&'()*+,;=:@/?%" or (byte < 128 and chr(byte).isalnum())

fill_tables()

cdef extern from *:
    """
    #ifdef __SSE2__
    #include <emmintrin.h>
    #endif
    #ifdef __SSE2__
    static inline __m128i accel_within(__m128i bytes, char first, char more) {
        __m128i from_first = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
        return _mm_cmpeq_epi8(_mm_min_epu8(from_first, _mm_set1_epi8(more)), from_first);
    }
    #endif
    static inline const char *accel_skip_words(const char *at, const char *end, char first_sign) {
        /* letters, digits and what lies between them and `first_sign`, sixteen bytes a step: what most names and
           targets are made of. It may stop too early, never too late. */
    #ifdef __SSE2__
        for (; end - at >= 16; at += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)at);
            __m128i good = _mm_or_si128(
                accel_within(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 25),
                _mm_or_si128(accel_within(bytes, first_sign, '9' - first_sign), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-'))));
            int found = _mm_movemask_epi8(good) ^ 0xffff;
            if (found) return at + __builtin_ctz((unsigned)found);
        }
    #endif
        return at;
    }
    static const char *accel_text_end(const char *at, const char *end) {
        /* the first control character but the tab: sixteen bytes a step */
    #ifdef __SSE2__
        for (; end - at >= 16; at += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)at);
            __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
            __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x09)), low),
                                       _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)));
            int found = _mm_movemask_epi8(bad);
            if (found) return at + __builtin_ctz((unsigned)found);
        }
    #endif
        while (at < end && ((unsigned char)*at >= 0x20 || *at == 0x09) && *at != 0x7f) at++;
        return at;
    }
    """
    const char *accel_skip_words(const char *at, const char *end, char first_sign) noexcept nogil
    const char *accel_text_end(const char *at, const char *end) noexcept nogil


cdef inline bint is_space(char byte) noexcept nogil:
    return byte == 32 or byte == 9

cdef bint is_name(const Text *text, const char *lower, size_t length) noexcept nogil:
    """Whether a field's name is `lower`."""
    cdef size_t at
    if text.length != length:
        return False
    for at in range(length):
        if LOWER[<uint8_t>text.at[at]] != <uint8_t>lower[at]:
            return False
    return True

cdef const char *scan_target(const char *at, const char *end, Head *head) noexcept nogil:
    """Read a target in origin form; return what is behind it, NULL if it is not understood."""
    cdef const char *start = at
    at = accel_skip_words(at, end, 45)  # hyphen, period and slash are among them
    while at < end and IN_TARGET[<uint8_t>at[0]]:
        if at[0] == 37 and end - at > 1 and at[1] == 48:  # %0: perhaps an escaped line end
            return NULL
        at += 1
    head.target.at, head.target.length = start, at - start
    return at if at < end and start[0] == 47 else NULL

cdef const char *scan_line(const char *at, const char *end, Line *line) noexcept nogil:
    """Read one field line; return what is behind it, NULL if it is not understood."""
    cdef const char *start = at
    cdef const char *stop
    at = accel_skip_words(at, end, 48)
    while at < end and IN_NAME[<uint8_t>at[0]]:
        at += 1
    if at == end or at == start or at[0] != 58:
        return NULL
    line.name.at, line.name.length = start, at - start
    at += 1
    while at < end and is_space(at[0]):
        at += 1
    stop = accel_text_end(at, end)
    if end - stop < 2 or stop[0] != 13 or stop[1] != 10:
        return NULL
    start = stop
    while start > at and is_space((start - 1)[0]):
        start -= 1
    line.value.at, line.value.length = at, start - at
    return stop + 2

cdef bint scan(const char *data, size_t length, const Bounds *bounds, Head *head) noexcept nogil:
    """Read the request that `data` begins with; False if it is not whole, or not fully understood."""
    cdef const char *end = data + length
    cdef const char *at
    cdef const char *begun
    cdef Line *line
    if length < 18:
        return False
    head.is_head = memcmp(data, b"HEAD ", 5) == 0
    if not head.is_head and memcmp(data, b"GET ", 4) != 0:
        return False
    at = scan_target(data + (5 if head.is_head else 4), end, head)
    if at == NULL or head.target.length > bounds.target_bytes:
        return False
    if end - at < 13 or memcmp(at, b" HTTP/1.1\r\n", 11) != 0:
        return False
    at += 11
    begun = at
    head.count, head.host.at = 0, NULL
    while at[0] != 13:
        if head.count >= bounds.fields:
            return False
        line = &head.lines[head.count]
        at = scan_line(at, end, line)
        if at == NULL or at == end or <size_t>(at - line.name.at) >= bounds.field_bytes:
            return False  # the parser counts four bytes beside name and value, of which three must be here
        if is_name(&line.name, b"host", 4):
            if head.host.at != NULL:
                return False
            head.host = line.value
        else:
            head.count += 1
    if end - at < 2 or at[1] != 10 or head.host.at == NULL or <size_t>(at - begun) + head.count >= bounds.head_bytes:
        return False
    head.size = at + 2 - data
    return True
