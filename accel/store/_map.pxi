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
    cdef readonly uint64_t size, row_count, segment_count, segment_bytes, bucket_count, ghost_count, epoch
    cdef uint64_t pins_stride, secret_low, secret_high, worker_rows

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
        self.pins_stride, self.epoch = self.header.pins_stride, self.header.epoch
        self.worker_rows = SIDES * self.row_count
        self.secret_low, self.secret_high = self.header.secret_low, self.header.secret_high

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    def forget(self, uint64_t row):
        """Take back what a dead worker held: pins, open segments, the one that it was emptying. Arbiter only."""
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

    def forget_side(self, uint64_t side):
        """Take back what every process of a program held that has ended. The other program's arbiter only."""
        cdef uint64_t row
        for row in range(side * self.row_count, (side + 1) * self.row_count):
            self.forget(row)
        self.forget(self.worker_rows + side)
        STORE(&self.header.rows_used_1 if side else &self.header.rows_used_0, 0)

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
        """Return what the record's checksum must be: of the header from `hash` on, key, meta, body or identity."""
        cdef const char *first = <char *>record + CHECKED_FROM
        if record.shape == SHAPE_PARENT:
            return self.hash(first, <char *>references(record) - first)
        return self.hash(first, HEAD - CHECKED_FROM + <size_t>record.key_length + record.meta_length
                         + record.body_length)

    cdef inline uint64_t *slot_with(self, uint64_t hash, uint64_t value) noexcept:
        """Return the slot of a hash that holds exactly `value`; NULL: nothing points there."""
        cdef uint64_t *bucket = self.bucket(hash)
        cdef int number
        for number in range(SLOTS):
            if LOAD(&bucket[number]) == value:
                return &bucket[number]
        return NULL

    cdef bint is_pinned(self, uint64_t segment) noexcept:
        """Whether any process pins the segment; certain for one in LIMBO, after a fence."""
        return (self.is_pinned_in(0, LOAD(&self.header.rows_used_0), segment)
                or self.is_pinned_in(self.row_count, LOAD(&self.header.rows_used_1), segment)
                or self.is_pinned_in(self.worker_rows, SIDES, segment))

    cdef inline bint is_pinned_in(self, uint64_t first, uint64_t count, uint64_t segment) noexcept:
        cdef uint64_t row
        for row in range(first, first + count):
            if PEEK(&self.pins[row * self.pins_stride + segment]):
                return True
        return False

    cdef void use_row(self, uint64_t row) noexcept:
        """Let a worker's row be looked at for pins; before it makes its first."""
        cdef uint64_t *used = &self.header.rows_used_0 if row < self.row_count else &self.header.rows_used_1
        cdef uint64_t wanted = row % self.row_count + 1, now = LOAD(used)
        while now < wanted and not SWAP(used, now, wanted):
            now = LOAD(used)


cdef inline uint64_t *identity(accel_record *record) noexcept:
    """Return where a parent says which body is its: behind key and meta, on the next multiple of eight."""
    return <uint64_t *>(<char *>record + ((HEAD + <size_t>record.key_length + record.meta_length + 7) & ~<size_t>7))


cdef inline uint64_t *references(accel_record *record) noexcept:
    """Return where a parent's references lie: behind its body's identity."""
    return identity(record) + 1


cdef inline size_t record_bytes(uint32_t shape, size_t key_length, size_t meta_length, size_t rest) noexcept:
    """Return a record's whole size with `rest` bytes behind its meta, or its body's identity, rounded up to units."""
    cdef size_t begin = HEAD + key_length + meta_length
    if shape == SHAPE_PARENT:
        begin = ((begin + 7) & ~<size_t>7) + sizeof(uint64_t)
    return (begin + rest + 15) & ~<size_t>15


cdef bint is_formed(accel_record *record, uint64_t room) noexcept:
    """Whether a record's lengths lie within its size, and that within the `room` bytes up to where its segment ends."""
    cdef uint64_t size = record.size, begin = HEAD + <uint64_t>record.key_length + record.meta_length
    if size < HEAD or size > room or size & 15 or begin > size:
        return False
    if record.shape == SHAPE_PARENT:
        return <uint64_t>(<char *>references(record) - <char *>record) + record.pieces * sizeof(uint64_t) <= size
    if record.shape == SHAPE_PIECE and begin != HEAD:
        return False
    return record.shape in (SHAPE_WHOLE, SHAPE_PIECE) and record.body_length <= size - begin
