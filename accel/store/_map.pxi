# The map: where things lie in one arena, and what the arbiter does after a death.

cdef class Map:
    """The pointers into one arena; holds the mapping for as long as anybody uses it."""

    cdef Py_buffer buffer
    cdef char *base
    cdef accel_header *header
    cdef accel_row *rows
    cdef accel_segment *segments
    cdef uint32_t *pins
    cdef uint64_t *slots
    cdef uint32_t *ghosts
    cdef char *data
    cdef readonly uint64_t size, row_count, segment_count, segment_bytes, bucket_count, ghost_count
    cdef uint64_t pins_stride, secret_low, secret_high

    def __cinit__(self, mapping):
        """`mapping` is a writable buffer that begins with a header already written."""
        PyObject_GetBuffer(mapping, &self.buffer, PyBUF_WRITABLE)
        self.base = <char *>self.buffer.buf
        self.header = <accel_header *>self.base
        if self.buffer.len < <Py_ssize_t>self.header.size:
            raise ValueError("the mapping is shorter than the map in it")
        self.rows = <accel_row *>(self.base + self.header.rows_at)
        self.segments = <accel_segment *>(self.base + self.header.segments_at)
        self.pins = <uint32_t *>(self.base + self.header.pins_at)
        self.slots = <uint64_t *>(self.base + self.header.index_at)
        self.ghosts = <uint32_t *>(self.base + self.header.ghosts_at)
        self.data = self.base + self.header.data_at
        self.size, self.row_count = self.header.size, self.header.row_count
        self.segment_count, self.segment_bytes = self.header.segment_count, self.header.segment_bytes
        self.bucket_count, self.ghost_count = self.header.bucket_count, self.header.ghost_count
        self.pins_stride = self.header.pins_stride
        self.secret_low, self.secret_high = self.header.secret_low, self.header.secret_high

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    def forget(self, uint64_t row):
        """Take back what a dead worker held: its pins, its open segments, the one that it was emptying. Arbiter only."""
        cdef uint64_t number, word
        cdef accel_segment *segment
        for number in range(self.segment_count):
            segment = &self.segments[number]
            word = LOAD(&segment.word)
            if state_in(word) in (STATE_OPEN, STATE_CLAIMED) and owner_in(word) == row:
                SWAP(&segment.word, word, in_state(word, 0, STATE_SEALED))
        FENCE()
        memset(self.pins + row * self.pins_stride, 0, self.pins_stride * sizeof(uint32_t))
        FENCE()

    def taken_bytes(self) -> int:
        """Return the bytes of the tables and of every segment that is not free."""
        cdef uint64_t number, taken = self.header.data_at
        for number in range(self.segment_count):
            if state_in(LOAD(&self.segments[number].word)) != STATE_FREE:
                taken += self.segment_bytes
        return taken

    def count_records(self) -> int:
        """Return how many slots are taken: one pass over the index."""
        cdef uint64_t at, count = 0
        for at in range(self.bucket_count * SLOTS):
            count += self.slots[at] != 0
        return count

    cdef inline char *at(self, uint64_t value) noexcept:
        """Return where a slot or a reference points."""
        return self.data + segment_in(value) * self.segment_bytes + offset_in(value)

    cdef inline uint64_t *bucket(self, uint64_t hash) noexcept:
        """Return the eight slots of a hash: its low half chooses them, its top 30 bits are the tag."""
        return self.slots + ((hash & 0xffffffffu) * self.bucket_count >> 32) * SLOTS

    cdef inline uint64_t hash(self, const char *data, size_t length) noexcept:
        return siphash(self.secret_low, self.secret_high, data, length)

    cdef uint64_t checksum(self, accel_record *record) noexcept:
        """Return what the record's checksum must be: header from `hash` on, key, meta, and the bytes of a body."""
        cdef size_t length = HEAD - CHECKED_FROM + <size_t>record.key_length + record.meta_length
        if record.shape != SHAPE_PARENT:
            length += record.body_length
        return self.hash(<char *>record + CHECKED_FROM, length)

    cdef bint is_pinned(self, uint64_t segment) noexcept:
        """Whether any process pins the segment; certain for one in LIMBO, after a fence."""
        cdef uint64_t row
        for row in range(self.row_count + 1):
            if PEEK(&self.pins[row * self.pins_stride + segment]):
                return True
        return False


cdef inline uint64_t *references(accel_record *record) noexcept:
    """Return where a parent's references lie: behind key and meta, on the next multiple of eight."""
    return <uint64_t *>(<char *>record + ((HEAD + <size_t>record.key_length + record.meta_length + 7) & ~<size_t>7))


cdef inline size_t record_bytes(size_t key_length, size_t meta_length, size_t rest) noexcept:
    """Return a record's whole size with `rest` bytes behind its meta, rounded up to units."""
    return (((HEAD + key_length + meta_length + 7) & ~<size_t>7) + rest + 15) & ~<size_t>15
