# cython: language_level=3
"""What a compiled hot path needs to log an exchange: fill an `accel_exchange`, call `put`. See `ring` for the map."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct accel_text:
    const char *data
    size_t length

cdef struct accel_exchange:
    double at                    # wall seconds when its head was complete
    double first_byte_s          # from `at`; NaN: nothing was answered
    double total_s
    double origin_s              # spent waiting for an origin; 0: none was asked
    double age_s                 # of what was served from the store; NaN where unknown
    double ttl_s                 # the same
    uint64_t key_hash            # 0: it has no key
    uint64_t body_bytes
    uint64_t exchange_id         # from `begun`; 0: it began just now
    uint16_t status              # 0: nothing was answered
    uint8_t minor
    uint8_t outcome              # the place of a word in proxy.outcome.Outcome
    uint8_t reason               # one more than the place of a word in http.cache_status.Forward; 0: not forwarded
    uint8_t retries
    uint32_t connection_id       # 0: not known
    accel_text client            # these eleven in this order: `put` goes through them
    accel_text method
    accel_text host
    accel_text target
    accel_text referer
    accel_text user_agent
    accel_text backend
    accel_text rule
    accel_text tags
    accel_text asked             # of an origin, where rules changed the target
    accel_text varies            # what the stored variants are told apart by; `LogRecord.varies`

cdef class RingWriter:
    cdef Py_buffer _buffer
    cdef uint64_t *_words
    cdef unsigned char *_data
    cdef uint64_t _size
    cdef uint64_t _head          # what the ring's words say, kept here too: nobody else writes them
    cdef uint64_t _reserved
    cdef uint64_t _records
    cdef uint64_t _begun
    cdef uint64_t begin(self) noexcept nogil
    cdef void put(self, accel_exchange *one) noexcept nogil
