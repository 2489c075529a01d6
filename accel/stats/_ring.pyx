# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled side of `ring`: the writer of a worker's ring, and loads and copies in order for those who read it."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #include <stdint.h>
    typedef struct {
        uint32_t length;
        uint16_t kind, cut;
        uint64_t sequence;
        double at;
        uint64_t key_hash, body_bytes, exchange_id;
        uint32_t connection_id;
        uint16_t status;
        uint8_t minor, outcome, reason, retries;
        uint16_t lengths[11];
        float first_byte_s, total_s, origin_s, age_s, ttl_s;
        uint32_t checksum;
    } ring_record;
    _Static_assert(sizeof(ring_record) == 104, "ring._FIXED has the same fields");
    static const uint16_t RING_BOUNDS[11] = {64, 32, 256, 2048, 1024, 512, 256, 256, 1024, 2048, 512};
    enum { RING_RESERVED, RING_HEAD, RING_RECORDS, RING_BEGUN, RING_FILLER = 0, RING_EXCHANGE = 1,
           RING_HEADER_BYTES = 4096, RING_PAGE_BYTES = 65536 };
    static inline uint64_t ring_load(uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
    static inline void ring_set(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
    static inline void ring_publish(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
    static inline void ring_stores_in_order(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
    static inline void ring_loads_in_order(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
    """
    ctypedef struct ring_record:
        uint32_t length
        uint16_t kind, cut
        uint64_t sequence
        double at
        uint64_t key_hash, body_bytes, exchange_id
        uint32_t connection_id
        uint16_t status
        uint8_t minor, outcome, reason, retries
        uint16_t lengths[11]
        float first_byte_s, total_s, origin_s, age_s, ttl_s
        uint32_t checksum
    const uint16_t *RING_BOUNDS
    enum:
        RING_RESERVED, RING_HEAD, RING_RECORDS, RING_BEGUN
        RING_FILLER, RING_EXCHANGE, RING_HEADER_BYTES, RING_PAGE_BYTES
    uint64_t ring_load(uint64_t *word) noexcept nogil
    void ring_set(uint64_t *word, uint64_t value) noexcept nogil
    void ring_publish(uint64_t *word, uint64_t value) noexcept nogil
    void ring_stores_in_order() noexcept nogil
    void ring_loads_in_order() noexcept nogil

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length) except NULL

cdef enum:
    TEXTS = 11


cdef class RingWriter:
    """Writes exchanges into one ring; at any time one process has one for it. Begins where the last one's head is."""

    def __cinit__(self, mapping):
        PyObject_GetBuffer(mapping, &self._buffer, PyBUF_WRITABLE)
        self._words = <uint64_t *> self._buffer.buf
        self._data = <unsigned char *> self._buffer.buf + RING_HEADER_BYTES
        self._size = self._buffer.len - RING_HEADER_BYTES
        self._head = ring_load(&self._words[RING_HEAD])
        self._reserved = ring_load(&self._words[RING_RESERVED])
        self._records = ring_load(&self._words[RING_RECORDS])
        self._begun = ring_load(&self._words[RING_BEGUN])

    def __dealloc__(self):
        PyBuffer_Release(&self._buffer)

    def begun(self):
        """Return the number of an exchange that begins."""
        return self.begin()

    cdef uint64_t begin(self) noexcept nogil:
        self._begun += 1
        ring_set(&self._words[RING_BEGUN], self._begun)
        return self._begun

    cdef void put(self, accel_exchange *one) noexcept nogil:
        cdef accel_text *texts = &one.client
        cdef uint16_t lengths[TEXTS]
        cdef uint16_t cut = 0
        cdef uint64_t total = sizeof(ring_record)
        cdef int n
        cdef ring_record *filler
        for n in range(TEXTS):
            lengths[n] = <uint16_t> min(texts[n].length, <size_t> RING_BOUNDS[n])
            cut |= <uint16_t> (texts[n].length > RING_BOUNDS[n]) << n
            total += lengths[n]
        total = (total + 7) & ~<uint64_t> 7
        cdef uint64_t room = RING_PAGE_BYTES - self._head % RING_PAGE_BYTES
        cdef uint64_t at = self._head if total <= room else self._head + room
        self._records += 1
        ring_set(&self._words[RING_RECORDS], self._records)
        if at + total > self._reserved:
            self._reserved = at + total
            ring_set(&self._words[RING_RESERVED], self._reserved)
        ring_stores_in_order()
        if at != self._head:
            filler = <ring_record *> (self._data + self._head % self._size)  # it may have but 8 bytes
            filler.length, filler.kind, filler.cut = <uint32_t> room, RING_FILLER, 0
        cdef ring_record *record = <ring_record *> (self._data + at % self._size)
        record.length, record.kind, record.cut, record.sequence = <uint32_t> total, RING_EXCHANGE, cut, self._records
        record.at, record.key_hash, record.body_bytes = one.at, one.key_hash, one.body_bytes
        record.exchange_id = one.exchange_id if one.exchange_id else self.begin()
        record.connection_id, record.status = one.connection_id, one.status
        record.minor, record.outcome, record.reason, record.retries = one.minor, one.outcome, one.reason, one.retries
        record.first_byte_s, record.total_s = <float> one.first_byte_s, <float> one.total_s
        record.origin_s, record.age_s, record.ttl_s = <float> one.origin_s, <float> one.age_s, <float> one.ttl_s
        record.checksum = 0
        cdef unsigned char *place = <unsigned char *> record + sizeof(ring_record)
        for n in range(TEXTS):
            record.lengths[n] = lengths[n]
            if lengths[n]:
                memcpy(place, texts[n].data, lengths[n])
                place += lengths[n]
        self._head = at + total
        ring_publish(&self._words[RING_HEAD], self._head)

    def write(
        self, double at, double first_byte_s, double total_s, double origin_s, double age_s, double ttl_s,
        uint64_t key_hash, uint64_t body_bytes, uint64_t exchange_id, uint32_t connection_id, uint16_t status,
        uint8_t minor, uint8_t outcome, uint8_t reason, uint8_t retries, str client not None, bytes method not None,
        bytes host not None, bytes target not None, bytes referer not None, bytes user_agent not None,
        str backend not None, str rule not None, bytes tags not None, bytes asked not None=b"",
        bytes varies not None=b"", /,
    ):
        """Write one exchange; the fields are those of `records.LogRecord`."""
        cdef accel_exchange one
        one.at, one.first_byte_s, one.total_s, one.origin_s = at, first_byte_s, total_s, origin_s
        one.age_s, one.ttl_s, one.key_hash, one.body_bytes = age_s, ttl_s, key_hash, body_bytes
        one.exchange_id, one.connection_id, one.status, one.minor = exchange_id, connection_id, status, minor
        one.outcome, one.reason, one.retries = outcome, reason, retries
        one.client, one.backend, one.rule = _of_str(client), _of_str(backend), _of_str(rule)
        one.method, one.host, one.target = _of_bytes(method), _of_bytes(host), _of_bytes(target)
        one.referer, one.user_agent, one.tags = _of_bytes(referer), _of_bytes(user_agent), _of_bytes(tags)
        one.asked, one.varies = _of_bytes(asked), _of_bytes(varies)
        self.put(&one)


cdef inline accel_text _of_bytes(bytes value) noexcept:
    cdef accel_text text
    text.data = PyBytes_AS_STRING(value)
    text.length = PyBytes_GET_SIZE(value)
    return text


cdef inline accel_text _of_str(str value) noexcept:
    cdef accel_text text
    cdef Py_ssize_t length
    try:
        text.data = PyUnicode_AsUTF8AndSize(value, &length)
    except UnicodeEncodeError:  # a file's name with bytes that are no UTF-8
        text.data, length = "?", 1
    text.length = length
    return text


cdef class RingWords:
    """A ring as its readers see it: loads that are not mixed up with the copies between them."""

    cdef Py_buffer _buffer
    cdef uint64_t *_words
    cdef char *_data
    cdef readonly uint64_t size

    def __cinit__(self, mapping):
        PyObject_GetBuffer(mapping, &self._buffer, PyBUF_SIMPLE)
        self._words = <uint64_t *> self._buffer.buf
        self._data = <char *> self._buffer.buf + RING_HEADER_BYTES
        self.size = self._buffer.len - RING_HEADER_BYTES

    def __dealloc__(self):
        PyBuffer_Release(&self._buffer)

    def reserved(self):
        """Return where the writer may be writing up to."""
        ring_loads_in_order()
        return ring_load(&self._words[RING_RESERVED])

    def head(self):
        """Return where whole records end."""
        return ring_load(&self._words[RING_HEAD])

    def records(self):
        """Return how many records were ever begun."""
        return ring_load(&self._words[RING_RECORDS])

    def copied(self, uint64_t start, uint64_t end):
        """Return the bytes from `start` to `end`, which lie in one page; None if they were overrun meanwhile."""
        copy = PyBytes_FromStringAndSize(self._data + start % self.size, end - start)
        ring_loads_in_order()
        return copy if start + self.size >= ring_load(&self._words[RING_RESERVED]) else None
