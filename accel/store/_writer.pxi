# A record under way: its bytes wait here until they are a whole record, or a whole piece of a long one.

@cython.final
@cython.no_gc
cdef class SharedWriter:
    """Append, then commit or abort exactly once; letting go of it aborts."""

    cdef Core store
    cdef bytes key
    cdef uint64_t hash, bound, received, identity
    cdef int kind
    cdef bint is_exact, is_open
    cdef char *buffer
    cdef size_t buffered, buffer_bytes
    cdef Piece *pieces
    cdef uint32_t piece_count, piece_room
    cdef int64_t shown  # pieces; -1: nothing was shown yet

    def __dealloc__(self):
        if self.store is not None:
            self.let_go()

    def append(self, bytes chunk not None) -> bool:
        """Add bytes; False (and aborted) when the record outgrew its length or the store's limits."""
        cdef size_t length = PyBytes_GET_SIZE(chunk)
        if not self.is_open or self.received + length > self.bound or not self.take(PyBytes_AS_STRING(chunk), length):
            self.let_go()
            return False
        self.received += length
        return True

    def commit(self, bytes meta not None):
        """Make the record visible under its key; None when it is shorter than announced or has no room."""
        cdef SharedRecord made = None
        if self.is_open and (not self.is_exact or self.received == self.bound):
            made = self.commit_whole(meta) if self.piece_count == 0 else self.commit_parent(meta)
        self.let_go()
        return made

    def show(self, bytes key, bytes meta not None, bint is_whole=False):
        """Return a record of the pieces so far, put under `key` if there is one; None: no new ones, or no room.

        The writer goes on. `is_whole` says that nothing will be appended: then what waits here is written out first.
        """
        cdef SharedRecord made
        if not self.is_open or (is_whole and not self.write_rest()) or self.piece_count == self.shown:
            return None
        made = self.put_parent(key, meta)
        if made is not None:
            self.shown = self.piece_count
        return made

    def abort(self) -> None:
        """Forget what was appended."""
        self.let_go()

    cdef bint take(self, const char *data, size_t length) except -1:
        """Buffer bytes; what does not fit any more goes out as pieces, the buffer first."""
        cdef size_t most = self.store.whole_bytes, part
        while length:
            if self.buffered == most:
                if not self.write_pieces(self.buffer, most):
                    return False
                self.empty_buffer()
            part = min(length, most - self.buffered)
            if length > most and self.buffered == 0:
                if not self.write_pieces(data, part):
                    return False
            elif not self.buffer_more(data, part):
                return False
            data += part
            length -= part
        return True

    cdef bint buffer_more(self, const char *data, size_t length) except -1:
        """Copy bytes behind those that wait; False: this worker's writers hold as much as they may."""
        cdef size_t wanted = self.buffered + length
        cdef char *buffer
        if self.store.buffered_bytes + length > self.store.writer_bytes:
            return False
        if wanted > self.buffer_bytes:
            wanted = min(max(wanted, 2 * self.buffer_bytes), self.store.whole_bytes)
            buffer = <char *>realloc(self.buffer, wanted)
            if buffer == NULL:
                raise MemoryError
            self.buffer, self.buffer_bytes = buffer, wanted
        memcpy(self.buffer + self.buffered, data, length)
        self.buffered += length
        self.store.buffered_bytes += length
        return True

    cdef void empty_buffer(self) noexcept:
        self.store.buffered_bytes -= self.buffered
        self.buffered = 0

    cdef bint write_pieces(self, const char *data, size_t length) except -1:
        """Write a part of the body, in two records where a segment ends; False: there is no room."""
        cdef size_t part, left
        while length:
            left = self.store.room(self.kind)
            part = length
            if record_bytes(SHAPE_PIECE, 0, 0, length) > left >= HEAD + <size_t>LEAST_PIECE_BYTES:
                part = left - HEAD
            if not self.write_piece(data, part):
                return False
            data += part
            length -= part
        return True

    cdef bint write_piece(self, const char *data, size_t length) except -1:
        cdef Draft draft
        cdef accel_record *made
        cdef uint64_t place
        self.reserve_piece()
        if self.piece_count == 0:
            self.identity = self.store.next_number()
        memset(&draft, 0, sizeof(Draft))
        draft.kind, draft.shape, draft.pieces, draft.hash = self.kind, SHAPE_PIECE, self.piece_count, self.hash
        draft.rest, draft.rest_bytes, draft.body_length, draft.identity = data, length, length, self.identity
        draft.key = draft.meta = data  # neither has a length, but memcpy takes no NULL
        made = self.store.write(&draft, &place)
        if made == NULL:
            self.store.own.refused += 1
            return False
        self.pieces[self.piece_count].data, self.pieces[self.piece_count].length = <char *>made + HEAD, length
        self.pieces[self.piece_count].reference = reference_of(made.generation, place)
        self.piece_count += 1
        return True

    cdef int reserve_piece(self) except -1:
        cdef Piece *pieces
        if self.piece_count == self.piece_room:
            pieces = <Piece *>realloc(self.pieces, (2 * self.piece_room + 8) * sizeof(Piece))
            if pieces == NULL:
                raise MemoryError
            self.pieces, self.piece_room = pieces, 2 * self.piece_room + 8
        return 0

    cdef SharedRecord commit_whole(self, bytes meta):
        cdef Draft draft = self.store.draft(self.key, self.hash, meta)
        draft.kind = self.kind
        draft.rest, draft.rest_bytes, draft.body_length = self.buffer, self.buffered, self.buffered
        return self.store.put_draft(&draft)

    cdef SharedRecord commit_parent(self, bytes meta):
        """Write what still waits, then the parent with a reference to each piece. Our pins keep them all till then."""
        return self.put_parent(self.key, meta) if self.write_rest() else None

    cdef bint write_rest(self) except -1:
        if not self.write_pieces(self.buffer, self.buffered):
            return False
        self.empty_buffer()
        return True

    cdef SharedRecord put_parent(self, bytes key, bytes meta):
        """Write a parent of all pieces, and put it under a key unless that is None."""
        cdef Draft draft = self.store.draft(key or b"", self.store.hash_of(key or b""), meta)
        cdef uint64_t *references = <uint64_t *>malloc(self.piece_count * sizeof(uint64_t))
        cdef uint32_t number
        if references == NULL:
            raise MemoryError
        for number in range(self.piece_count):
            references[number] = self.pieces[number].reference
        draft.kind, draft.shape, draft.pieces = self.kind, SHAPE_PARENT, self.piece_count
        draft.identity, draft.body_length = self.identity, self.received - self.buffered
        draft.rest, draft.rest_bytes = <char *>references, self.piece_count * sizeof(uint64_t)
        made = self.store.put_draft(&draft, key is not None)
        free(references)
        return made

    cdef void let_go(self) noexcept:
        """Give back the buffer and the pins; what was written stays as dead space unless a parent refers to it."""
        cdef uint32_t number
        self.is_open = False
        self.empty_buffer()
        for number in range(self.piece_count):
            self.store.unpin(self.pieces[number].reference)
        free(self.pieces)
        free(self.buffer)
        self.pieces, self.buffer, self.piece_count, self.piece_room, self.buffer_bytes = NULL, NULL, 0, 0, 0
