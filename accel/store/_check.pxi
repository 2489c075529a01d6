# The walk that proves the whole map, and its figures. Runs beside working workers: it pins what it reads.

FAULTS_LISTED = 20
cdef uint64_t GLIMPSE_SLOTS = 1 << 17


cdef class Inspector(Index):
    """Reads everything through the row of pins that no worker has."""

    def __cinit__(self, *_, **__):
        if self.row < self.map.worker_rows:
            raise ValueError("a worker's row is not for looking")

    def figures(self) -> dict:
        """Return segments by state and kind, filled bytes, pins, records, and the sums of the workers' rows."""
        cdef uint64_t number, word
        cdef accel_segment *segment
        counts = dict.fromkeys(("free", "open", "sealed", "claimed", "limbo", "probation", "main", "filled_bytes"), 0)
        states = ("free", "open", "sealed", "claimed", "limbo")
        for number in range(self.map.segment_count):
            segment = &self.map.segments[number]
            word = LOAD(&segment.word)
            counts[states[state_in(word)]] += 1
            if is_readable(word):
                counts["main" if kind_in(word) == KIND_MAIN else "probation"] += 1
                counts["filled_bytes"] += LOAD(&segment.fill)
        return counts | self.row_figures() | {
            "pins": self.count_pins(),
            "records": self.map.count_records(),
            "taken_bytes": self.map.taken_bytes(),
            "size_bytes": self.map.size,
            "oldest_at": self.oldest_at(),
        }

    def glimpse(self) -> dict:
        """Return what a look each second may cost: a byte a segment, the workers' sums, records by a sample.

        A byte is fill in 16ths | main << 4 | state << 5. Where records lie in the index is random, so a part of it
        tells of the whole: to 1 % where it is not all of it.
        """
        cdef uint64_t number, word, fill, used
        cdef uint64_t slots = self.map.bucket_count * SLOTS
        cdef uint64_t looked_at = min(slots, GLIMPSE_SLOTS)
        cdef uint64_t taken = 0
        told = bytearray(self.map.segment_count)
        filled_bytes = 0
        for number in range(self.map.segment_count):
            word = LOAD(&self.map.segments[number].word)
            fill = min(LOAD(&self.map.segments[number].fill), self.map.segment_bytes) if is_readable(word) else 0
            filled_bytes += fill
            used = fill * 15 // self.map.segment_bytes
            told[number] = used | (kind_in(word) == KIND_MAIN) << 4 | (state_in(word) & 7) << 5
        for number in range(looked_at):
            taken += self.map.slots[number] != 0
        return self.row_figures() | {
            "segments": bytes(told),
            "segment_bytes": self.map.segment_bytes,
            "filled_bytes": filled_bytes,
            "size_bytes": self.map.size,
            "records": taken * slots // looked_at,
        }

    cdef dict row_figures(self):
        cdef uint64_t row
        sums = dict.fromkeys(("written", "evicted", "moved", "walked", "refused", "returned", "broken", "torn"), 0)
        for row in range(self.map.worker_rows):
            sums["written"] += self.map.rows[row].numbered
            sums["evicted"] += self.map.rows[row].evicted
            sums["moved"] += self.map.rows[row].moved
            sums["walked"] += self.map.rows[row].walked
            sums["refused"] += self.map.rows[row].refused
            sums["returned"] += self.map.rows[row].returned
            sums["broken"] += self.map.rows[row].broken
            sums["torn"] += self.map.rows[row].torn
        return sums

    cdef uint64_t count_pins(self):
        cdef uint64_t row, number, count = 0
        for row in range(self.map.worker_rows):
            for number in range(self.map.segment_count):
                count += PEEK(&self.map.pins[row * self.map.pins_stride + number])
        return count

    cdef double oldest_at(self):
        """Return when the oldest readable segment was opened; 0: there is none."""
        cdef uint64_t number, oldest = 0
        for number in range(self.map.segment_count):
            if is_readable(LOAD(&self.map.segments[number].word)):
                opened_at_ns = LOAD(&self.map.segments[number].opened_at_ns)
                oldest = opened_at_ns if oldest == 0 else min(oldest, opened_at_ns)
        return oldest / 1e9

    def sweep(self, judge, settle) -> None:
        """Show `judge` key and meta of each record that a slot leads to; True: the slot is emptied.

        `settle` is called once that is done, or nothing was to be done; a slot that changed meanwhile is judged anew.
        """
        cdef uint64_t number
        for number in range(self.map.bucket_count * SLOTS):
            while not self.sweep_slot(&self.map.slots[number], judge, settle):
                pass

    cdef bint sweep_slot(self, uint64_t *slot, judge, settle) except -1:
        """Judge one slot; False: it changed meanwhile."""
        cdef uint64_t value = LOAD(slot)
        cdef Place place
        cdef bint is_done
        if value == 0:
            return True
        if not self.look(slot, value, &place):
            return False
        try:
            key = PyBytes_FromStringAndSize(<char *>place.record + HEAD, place.record.key_length)
            meta = PyBytes_FromStringAndSize(
                <char *>place.record + HEAD + place.record.key_length, place.record.meta_length)
            is_done = not judge(key, meta) or SWAP(slot, place.value, 0)
        finally:
            self.unpin(place.value)
        if is_done:
            settle()
        return is_done

    def check(self) -> tuple:
        """Return what was counted (see `shared.Check`) and the first faults found."""
        faults = []
        names = ("records", "pieces", "live_bytes", "dead_bytes", "reachable", "twins", "broken", "torn")
        counts = dict.fromkeys(names, 0)
        cdef uint64_t number
        for number in range(self.map.segment_count):
            self.check_segment(number, counts, faults)
        for number in range(self.map.bucket_count * SLOTS):
            self.check_slot(number, counts, faults)
        return counts, faults[:FAULTS_LISTED]

    cdef check_segment(self, uint64_t number, dict counts, list faults):
        cdef accel_segment *segment = &self.map.segments[number]
        cdef uint64_t word
        self.pin(number << OFFSET_BITS)
        FENCE()
        word = LOAD(&segment.word)
        if is_readable(word):
            self.walk(number, generation_in(word), LOAD(&segment.fill), counts, faults)
        elif state_in(word) > STATE_LIMBO:
            faults.append(f"segment {number}: no such state")
        self.unpin(number << OFFSET_BITS)

    cdef walk(self, uint64_t number, uint64_t generation, uint64_t fill, dict counts, list faults):
        """Step over a pinned segment's records; they must end where it is filled to, each with its checksum."""
        cdef char *data = self.map.data + number * self.map.segment_bytes
        cdef uint64_t at = FIRST_RECORD
        cdef accel_record *record
        if fill > self.map.segment_bytes:
            faults.append(f"segment {number}: filled beyond its end")
            return
        while at < fill:
            record = <accel_record *>(data + at)
            if record.generation < generation:
                return  # opened by a process that was killed or has not come further: nothing is in it yet
            if record.generation > generation or not is_formed(record, fill - at):
                faults.append(f"segment {number} at {at}: no record")
                return
            if record.checksum != self.map.checksum(record):
                self.note_wrong(record, f"segment {number} at {at}: checksum", counts, faults)
            counts["pieces" if record.shape == SHAPE_PIECE else "records"] += 1
            counts["live_bytes" if self.is_live(record, place_of(number, at)) else "dead_bytes"] += record.size
            at += record.size

    cdef note_wrong(self, accel_record *record, str fault, dict counts, list faults):
        """A wrong byte is a fault, unless the record came with a file and nobody has used it since."""
        if is_known_in(PEEK(&record.used), self.map.epoch):
            faults.append(fault)
        else:
            counts["torn"] += 1

    cdef bint is_live(self, accel_record *record, uint64_t place) noexcept:
        cdef Place parent
        if record.shape != SHAPE_PIECE:
            return self.map.slot_with(record.hash, slot_of(record.hash, place)) != NULL
        if not self.find_parent(record, reference_of(record.generation, place), &parent):
            return False
        self.unpin(parent.value)
        return True

    cdef check_slot(self, uint64_t number, dict counts, list faults):
        """A slot must lead to a whole record of its bucket and tag; its pieces may be gone, which is a miss."""
        cdef uint64_t *slot = &self.map.slots[number]
        cdef uint64_t word, value = LOAD(slot)
        cdef Place place
        if value == 0 or not self.look(slot, value, &place):
            return
        word = LOAD(&self.map.segments[segment_in(place.value)].word)
        if not is_readable(word) or place.record.generation != generation_in(word):
            faults.append(f"slot {number}: leads to a segment that is gone")
        elif place.record.shape == SHAPE_PIECE or self.map.bucket(place.record.hash) != slot - number % SLOTS:
            faults.append(f"slot {number}: leads to no record of its bucket")
        elif place.record.hash >> PLACE_BITS != place.value >> PLACE_BITS:
            faults.append(f"slot {number}: leads to a record of another tag")
        else:
            counts["reachable"] += 1
            counts["twins"] += self.has_twin(slot, &place)
            counts["broken"] += not self.has_all_pieces(place.record)
        self.unpin(place.value)

    cdef bint has_twin(self, uint64_t *slot, Place *place) noexcept:
        """Whether a lower slot has the same key: then nobody reads this one."""
        cdef Place first
        cdef accel_record *record = place.record
        cdef bint is_twin
        if not self.find(record.hash, <char *>record + HEAD, record.key_length, &first):
            return False
        is_twin = first.slot < slot
        self.unpin(first.value)
        return is_twin

    cdef bint has_all_pieces(self, accel_record *record) noexcept:
        """Whether a long body is there whole, as a reader would find it."""
        cdef Piece piece
        cdef uint64_t length = 0
        cdef uint32_t number
        cdef bint is_there = True
        if record.shape == SHAPE_WHOLE:
            return True
        for number in range(record.pieces):
            piece.reference = LOAD(&references(record)[number])
            self.pin(piece.reference)
            FENCE()
            is_there = is_there and read_piece(self.map, record, number, &piece)
            length += piece.length if is_there else 0
            self.unpin(piece.reference)
        return is_there and length == record.body_length
