# A warm start: what lies in a file is believed as far as it proves itself. Runs alone, before there is a worker.
#
# The segments are stepped through as a walk does. OPEN and CLAIMED become SEALED; `fill` goes back to where the chain
# of well-formed records of the segment's generation ends; a slot stays only if this came by the very record that it
# leads to, which proves its bucket, tag and place at once. So nothing is pointed to that the walk of its segment would
# not find: a segment freed under a slot would be worse than a wrong byte. A long body stays only if every reference
# leads to a well-formed piece of it. Rows go on numbering above all that stays, so no number has two records.
#
# Reads the heads of records, not bodies: one pass over the segments in order, one over the index.

cdef enum:
    NUMBER_BITS = 48  # below these a record's number has its row; no counter comes near the highest of them


cdef class Revival:
    """Makes a map that some processes left, or a disk kept, one that no pointer leads out of."""

    cdef Map map
    cdef uint8_t *proven  # a byte a bucket, a bit a slot
    cdef readonly uint64_t kept, dropped

    def __cinit__(self, Map map not None):
        self.map = map
        self.proven = <uint8_t *>calloc(map.bucket_count, 1)
        if self.proven == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.proven)

    def run(self) -> None:
        """Forget every process, keep every record whose place is proven, empty every other slot. Idempotent."""
        cdef uint64_t number
        memset(self.map.pins, 0, (self.map.worker_rows + SIDES) * self.map.pins_stride * sizeof(uint32_t))
        self.map.header.rows_used_0 = self.map.header.rows_used_1 = 0
        if not is_count(self.map.header.sequence):
            self.map.header.sequence = 1
        for number in range(self.map.worker_rows):
            self.begin_row(&self.map.rows[number])
        for number in range(self.map.segment_count):
            self.begin_segment(number)
        for number in range(self.map.bucket_count * SLOTS):
            self.judge_slot(number)
        FENCE()

    cdef void begin_row(self, accel_row *row) noexcept:
        """Count anew, but for the numbers given."""
        cdef uint64_t numbered = row.numbered
        memset(row, 0, sizeof(accel_row))
        row.numbered = numbered if is_count(numbered) else 0

    cdef void begin_segment(self, uint64_t number) noexcept:
        """Seal what somebody was filling or emptying, up to its last sound record; free what has no such state."""
        cdef accel_segment *segment = &self.map.segments[number]
        cdef uint64_t word = segment.word
        if state_in(word) > STATE_LIMBO or kind_in(word) > KIND_MAIN:
            word = word_of(generation_in(word) + 1, 0, 0, STATE_FREE)
        elif is_readable(word):
            word = in_state(word, 0, STATE_SEALED)
            segment.fill = self.prove_records(number, generation_in(word), min(segment.fill, self.map.segment_bytes))
            if segment.order == 0 or not is_count(segment.order):
                segment.order = 1
            self.map.header.sequence = max(self.map.header.sequence, segment.order + 1)
        segment.word = word

    cdef uint64_t prove_records(self, uint64_t number, uint64_t generation, uint64_t fill) noexcept:
        """Step over a segment's records; return where the last one ends that a walk would come to."""
        cdef char *data = self.map.data + number * self.map.segment_bytes
        cdef uint64_t at = FIRST_RECORD
        cdef accel_record *record
        while at + HEAD <= fill:
            record = <accel_record *>(data + at)
            if record.generation != generation or not is_formed(record, fill - at):
                break
            if at + record.size + HEAD <= fill:
                PREFETCH(self.map.bucket((<accel_record *>(data + at + record.size)).hash))
            if record.shape != SHAPE_PIECE:
                self.prove(record, slot_of(record.hash, place_of(number, at)))
            at += record.size
        return at

    cdef void prove(self, accel_record *record, uint64_t value) noexcept:
        """A slot is proven by the record that it leads to: it has that bucket, that tag, that place."""
        cdef uint64_t *slot = self.map.slot_with(record.hash, value)
        if slot == NULL or not self.count_number(record.number):
            return
        if record.shape == SHAPE_PARENT and not self.count_number(identity(record)[0]):
            return
        self.proven[(slot - self.map.slots) // SLOTS] |= 1 << (slot - self.map.slots) % SLOTS

    cdef bint count_number(self, uint64_t number) noexcept:
        """See to it that nobody gives this number again; False: nobody can have given it."""
        cdef uint64_t row = number >> NUMBER_BITS, counted = number & ((<uint64_t>1 << NUMBER_BITS) - 1)
        if row >= self.map.worker_rows or not is_count(counted):
            return False
        self.map.rows[row].numbered = max(self.map.rows[row].numbered, counted)
        return True

    cdef void judge_slot(self, uint64_t number) noexcept:
        """Empty a slot that is not proven, or leads to a long body whose pieces are not all there."""
        cdef uint64_t *slot = &self.map.slots[number]
        if slot[0] == 0:
            return
        if self.proven[number // SLOTS] >> number % SLOTS & 1 and self.has_pieces(<accel_record *>self.map.at(slot[0])):
            self.kept += 1
        else:
            slot[0] = 0
            self.dropped += 1

    cdef bint has_pieces(self, accel_record *record) noexcept:
        cdef uint64_t length = 0
        cdef uint32_t number
        cdef Piece piece
        if record.shape != SHAPE_PARENT:
            return True
        for number in range(record.pieces):
            piece.reference = references(record)[number]
            if not self.is_within(piece.reference) or not read_piece(self.map, record, number, &piece):
                return False
            length += piece.length
        return length == record.body_length

    cdef bint is_within(self, uint64_t reference) noexcept:
        """Whether a reference leads to something with a record's form, below where its segment is filled to."""
        cdef uint64_t offset = offset_in(reference), fill
        if segment_in(reference) >= self.map.segment_count or offset < FIRST_RECORD:
            return False
        fill = self.map.segments[segment_in(reference)].fill
        if state_in(self.map.segments[segment_in(reference)].word) != STATE_SEALED or offset + HEAD > fill:
            return False
        return is_formed(<accel_record *>self.map.at(reference), fill - offset)


cdef inline bint is_count(uint64_t value) noexcept nogil:
    """Whether a counter may have come so far."""
    return value >> (NUMBER_BITS - 1) == 0
