# What a reader holds: a record, its pins, and the buffers that lead into the arena.

cdef struct Piece:
    char *data
    uint64_t length
    uint64_t reference  # whose segment is pinned


@cython.final
@cython.no_gc
cdef class View:
    """Exports some bytes of a record's body; whoever holds the export holds the record, and so its pins."""

    cdef SharedRecord record
    cdef char *data
    cdef Py_ssize_t length

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.data, self.length, 1, flags)


cdef object view(SharedRecord record, char *data, Py_ssize_t length):
    cdef View made = View.__new__(View)
    made.record, made.data, made.length = record, data, length
    return PyMemoryView_FromObject(made)


@cython.final
@cython.no_gc  # refers to its store and to what its caller made of meta, never back
@cython.freelist(64)
cdef class SharedRecord:
    """One stored thing in the arena, pinned for as long as this object or a buffer of it lives."""

    cdef Core store
    cdef accel_record *record
    cdef uint64_t value  # a slot's or a reference's: its segment is pinned
    cdef Piece *pieces
    cdef uint32_t piece_count
    cdef object known

    def __dealloc__(self):
        cdef uint32_t number
        if self.record == NULL:
            return
        self.store.unpin(self.value)
        for number in range(self.piece_count):
            self.store.unpin(self.pieces[number].reference)
        free(self.pieces)

    @property
    def key(self) -> bytes:
        return PyBytes_FromStringAndSize(<char *>self.record + HEAD, self.record.key_length)

    @property
    def meta(self) -> bytes:
        return PyBytes_FromStringAndSize(<char *>self.record + HEAD + self.record.key_length, self.record.meta_length)

    @property
    def length(self) -> int:
        return self.record.body_length

    @property
    def decoded(self):
        """What the caller made of `meta`, in this process, whichever object of the record it gave it to."""
        if self.known is None:
            self.known = self.store.decoded_of(self.record.number)
        return self.known

    @decoded.setter
    def decoded(self, value):
        self.known = value
        self.store.keep_decoded(self.record.number, value)

    def chunks(self) -> list:
        """Return the body's buffers in order."""
        return self.slice(0, self.record.body_length)

    def slice(self, int64_t start, int64_t stop) -> list:
        """Return buffers that together are bytes `start` to `stop` (exclusive) of the body."""
        cdef list buffers = []
        cdef int64_t at = 0, first, last, length
        cdef uint32_t number
        cdef char *data
        for number in range(max(1, self.piece_count)):
            data, length = self.whole_body() if self.piece_count == 0 else self.piece(number)
            first, last = max(start - at, 0), min(stop - at, length)
            if first < last:
                buffers.append(view(self, data + first, last - first))
            at += length
        return buffers

    cdef inline (char *, int64_t) whole_body(self) noexcept:
        cdef char *data = <char *>self.record + HEAD + self.record.key_length + self.record.meta_length
        return data, self.record.body_length

    cdef inline (char *, int64_t) piece(self, uint32_t number) noexcept:
        return self.pieces[number].data, self.pieces[number].length

    cdef bint pin_pieces(self) except -1:
        """Pin the pieces of a long body; False: one of them is gone."""
        cdef uint32_t number
        cdef uint64_t length = 0
        self.pieces = <Piece *>malloc(self.record.pieces * sizeof(Piece))
        if self.pieces == NULL:
            raise MemoryError
        for number in range(self.record.pieces):
            self.pieces[number].reference = LOAD(&references(self.record)[number])
            reached(STEP_REFERRED)
            self.store.pin(self.pieces[number].reference)
        self.piece_count = self.record.pieces
        FENCE()
        reached(STEP_PIECES_PINNED)
        for number in range(self.piece_count):
            if not self.settle_piece(number):
                return False
            length += self.pieces[number].length
        return length == self.record.body_length

    cdef bint is_intact(self) noexcept:
        """Whether every checksum is right: asked once a record and epoch, for it may come from a file."""
        cdef Map map = self.store.map
        cdef accel_record *piece
        cdef uint32_t number
        if self.record.checksum != map.checksum(self.record):
            return False
        for number in range(self.piece_count):
            piece = <accel_record *>(self.pieces[number].data - HEAD)
            if piece.checksum != map.checksum(piece):
                return False
        return True

    cdef bint settle_piece(self, uint32_t number) noexcept:
        """Make sure of one pinned piece; if it moved before it was pinned, of where it is now."""
        cdef Piece *piece = &self.pieces[number]
        cdef uint64_t now
        while not read_piece(self.store.map, self.record, number, piece):
            now = LOAD(&references(self.record)[number])
            if now == piece.reference:
                return False
            self.store.unpin(piece.reference)
            piece.reference = now
            self.store.pin(now)
            FENCE()
        return True


cdef bint read_piece(Map map, accel_record *parent, uint32_t number, Piece *piece) noexcept:
    """Find a pinned piece's bytes; False: its segment is not the one meant any more."""
    cdef uint64_t word = LOAD(&map.segments[segment_in(piece.reference)].word)
    cdef accel_record *record = <accel_record *>map.at(piece.reference)
    if not is_readable(word) or (generation_in(word) << PLACE_BITS ^ piece.reference) >> PLACE_BITS:
        return False
    if record.shape != SHAPE_PIECE or record.number != identity(parent)[0] or record.pieces != number:
        return False
    piece.data, piece.length = <char *>record + HEAD, record.body_length
    return True
