# Words: what layout.py says in C, the atomic instructions, the keyed hash, and what is packed in a word.

cdef extern from "_layout.h":
    int LINE_BYTES, OFFSET_BITS, SEGMENT_BITS, UNIT_BITS, PLACE_BITS, STATE_BITS, KIND_BITS, OWNER_BITS
    int BUCKET_SLOTS, FIRST_RECORD, CHECKED_FROM, ATTEMPTS, SIDES, EPOCH_SHIFT, EPOCH_MASK
    int PROBATION_SHARE, PROMOTE_AT, USED_MOST, LARGEST_SHARE, LEAST_PIECE_BYTES
    int SPARE_SEGMENTS, SEGMENTS_A_SPARE, WALK_UNITS, URGENT_WALKS, WRITTEN_A_UNIT, COPIED_A_UNIT, SEGMENTS_A_UNIT
    int STATE_FREE, STATE_OPEN, STATE_SEALED, STATE_CLAIMED, STATE_LIMBO
    int KIND_PROBATION, KIND_MAIN
    int SHAPE_WHOLE, SHAPE_PARENT, SHAPE_PIECE
    int STEP_LOOKED, STEP_PINNED, STEP_PIECES_PINNED, STEP_WRITTEN, STEP_COUNTED, STEP_CHOSEN, STEP_PUBLISHED
    int STEP_OPENED, STEP_CLAIMED, STEP_COPIED, STEP_SWAPPED, STEP_EMPTIED, STEP_UNPOINTED, STEP_REFERRED, STEP_PAUSED
    unsigned int LAYOUT_FINGERPRINT
    ctypedef struct accel_header:
        uint64_t size, row_count, segment_count, segment_bytes, bucket_count, ghost_count
        uint64_t rows_at, segments_at, pins_at, index_at, ghosts_at, data_at, pins_stride
        uint64_t secret_low, secret_high, epoch, sequence, rows_used_0, rows_used_1
    ctypedef struct accel_row:
        uint64_t numbered, evicted, moved, walked, refused, returned, broken, torn
    ctypedef struct accel_segment:
        uint64_t word, order, fill, opened_at_ns
    ctypedef struct accel_record:
        uint32_t size, used
        uint64_t generation, checksum, hash, number
        uint32_t key_length, meta_length
        uint64_t body_length
        uint32_t pieces, shape

cdef extern from *:
    """
    #define LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    #define STORE(at, value) __atomic_store_n((at), (value), __ATOMIC_RELEASE)
    #define PEEK(at) __atomic_load_n((at), __ATOMIC_RELAXED)
    #define POKE(at, value) __atomic_store_n((at), (value), __ATOMIC_RELAXED)
    #define RELEASE(at, value) __atomic_store_n((at), (value), __ATOMIC_RELEASE)
    #define FENCE() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define TAKE_NEXT(at) __atomic_fetch_add((at), 1, __ATOMIC_SEQ_CST)
    #define PREFETCH(at) __builtin_prefetch(at)
    static inline int SWAP(uint64_t *at, uint64_t old, uint64_t new_) {
        return __atomic_compare_exchange_n(at, &old, new_, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    """
    uint64_t LOAD(uint64_t *at) nogil
    void STORE(uint64_t *at, uint64_t value) nogil
    uint32_t PEEK(uint32_t *at) nogil
    void POKE(uint32_t *at, uint32_t value) nogil
    void RELEASE(uint32_t *at, uint32_t value) nogil
    void FENCE() nogil
    uint64_t TAKE_NEXT(uint64_t *at) nogil
    void PREFETCH(const void *at) nogil
    bint SWAP(uint64_t *at, uint64_t old, uint64_t new_) nogil

cdef enum:
    SLOTS = 8  # BUCKET_SLOTS, where C wants to know it
    HEAD = sizeof(accel_record)

FINGERPRINT = LAYOUT_FINGERPRINT
assert BUCKET_SLOTS == SLOTS

cdef object watcher = None


def watch(callback) -> None:
    """Have `callback` called with each `layout.Step` from now on, None: nothing. For tests; costs one compare a step."""
    global watcher
    watcher = callback


cdef inline void reached(int step) noexcept:
    if watcher is not None:
        watcher(step)


# A slot and a reference: thirty bits, then a place.

cdef inline uint64_t place_of(uint64_t segment, uint64_t offset) noexcept nogil:
    return segment << OFFSET_BITS | offset >> UNIT_BITS

cdef inline uint64_t slot_of(uint64_t hash, uint64_t place) noexcept nogil:
    return hash >> PLACE_BITS << PLACE_BITS | place

cdef inline uint64_t reference_of(uint64_t generation, uint64_t place) noexcept nogil:
    return generation << PLACE_BITS | place

cdef inline uint64_t segment_in(uint64_t value) noexcept nogil:
    return value >> OFFSET_BITS & ((1 << SEGMENT_BITS) - 1)

cdef inline uint64_t offset_in(uint64_t value) noexcept nogil:
    return (value & ((1 << OFFSET_BITS) - 1)) << UNIT_BITS


# A segment's word: generation, owner, kind, state.

cdef inline uint64_t word_of(uint64_t generation, uint64_t owner, uint64_t kind, uint64_t state) noexcept nogil:
    return ((generation << OWNER_BITS | owner) << KIND_BITS | kind) << STATE_BITS | state

cdef inline int state_in(uint64_t word) noexcept nogil:
    return word & ((1 << STATE_BITS) - 1)

cdef inline int kind_in(uint64_t word) noexcept nogil:
    return word >> STATE_BITS & ((1 << KIND_BITS) - 1)

cdef inline uint64_t owner_in(uint64_t word) noexcept nogil:
    return word >> (STATE_BITS + KIND_BITS) & ((1 << OWNER_BITS) - 1)

cdef inline uint64_t generation_in(uint64_t word) noexcept nogil:
    return word >> (STATE_BITS + KIND_BITS + OWNER_BITS)

cdef inline uint64_t in_state(uint64_t word, uint64_t owner, uint64_t state) noexcept nogil:
    """Return the word of the same segment, with its generation and kind, in another state."""
    return word_of(generation_in(word), owner, kind_in(word), state)

cdef inline bint is_readable(uint64_t word) noexcept nogil:
    return STATE_OPEN <= state_in(word) <= STATE_CLAIMED


# A record's `used`: how often, and the epoch in which its checksum was last known to be right.

cdef inline uint32_t used_of(uint64_t epoch, uint32_t count) noexcept nogil:
    return <uint32_t>(epoch & EPOCH_MASK) << EPOCH_SHIFT | count

cdef inline uint32_t count_in(uint32_t used) noexcept nogil:
    return used & ((1 << EPOCH_SHIFT) - 1)

cdef inline bint is_known_in(uint32_t used, uint64_t epoch) noexcept nogil:
    return used >> EPOCH_SHIFT == (epoch & EPOCH_MASK)


# SipHash-1-3 (Aumasson, Bernstein 2012; the variant that CPython and Rust use): of keys, and as a record's checksum.

cdef inline uint64_t turned(uint64_t value, int bits) noexcept nogil:
    return value << bits | value >> (64 - bits)

cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]; v[2] += v[3]
    v[1] = turned(v[1], 13) ^ v[0]; v[3] = turned(v[3], 16) ^ v[2]
    v[0] = turned(v[0], 32)
    v[2] += v[1]; v[0] += v[3]
    v[1] = turned(v[1], 17) ^ v[2]; v[3] = turned(v[3], 21) ^ v[0]
    v[2] = turned(v[2], 32)

cdef uint64_t siphash(uint64_t low, uint64_t high, const char *data, size_t length) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word
    cdef size_t at
    v[0] = low ^ 0x736f6d6570736575u
    v[1] = high ^ 0x646f72616e646f6du
    v[2] = low ^ 0x6c7967656e657261u
    v[3] = high ^ 0x7465646279746573u
    for at in range(0, length & ~<size_t>7, 8):
        memcpy(&word, data + at, 8)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
    word = 0
    memcpy(&word, data + (length & ~<size_t>7), length & 7)
    word |= <uint64_t>length << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xff
    for at in range(3):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def keyed_hash(uint64_t low, uint64_t high, const uint8_t[::1] data) -> int:
    """Return SipHash-1-3 of `data` under a key of 128 bits, as the store uses it."""
    if data.shape[0] == 0:
        return siphash(low, high, NULL, 0)
    return siphash(low, high, <const char *>&data[0], data.shape[0])
