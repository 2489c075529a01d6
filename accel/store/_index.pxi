# The index: slots and pins, seen from one process.

cdef struct Place:
    # A record found: its slot, the value found there, and its bytes, whose segment is pinned.
    uint64_t *slot
    uint64_t value
    accel_record *record


cdef class Index:
    """One process's hands on the index: every look through a slot goes by a pin of its own row."""

    cdef Map map
    cdef uint64_t row
    cdef uint32_t *own_pins

    def __cinit__(self, Map map not None, uint64_t row, *_, **__):
        if row >= map.worker_rows + SIDES:
            raise ValueError("the map has no such row")
        self.map, self.row = map, row
        self.own_pins = map.pins + row * map.pins_stride
        if row < map.worker_rows:
            map.use_row(row)

    cdef inline void pin(self, uint64_t value) noexcept:
        cdef uint32_t *pins = &self.own_pins[segment_in(value)]
        POKE(pins, pins[0] + 1)

    cdef inline void unpin(self, uint64_t value) noexcept:
        cdef uint32_t *pins = &self.own_pins[segment_in(value)]
        RELEASE(pins, pins[0] - 1)

    cdef bint look(self, uint64_t *slot, uint64_t tagged, Place *place) noexcept:
        """Pin what a slot points to, if it carries the tag of `tagged`; False: it does not, or not any more."""
        cdef uint64_t value = LOAD(slot)
        while value and (value ^ tagged) >> PLACE_BITS == 0:
            reached(STEP_LOOKED)
            self.pin(value)
            FENCE()
            reached(STEP_PINNED)
            if LOAD(slot) == value:
                place.slot, place.value, place.record = slot, value, <accel_record *>self.map.at(value)
                return True
            self.unpin(value)
            value = LOAD(slot)
        return False

    cdef bint find_from(self, int first, uint64_t hash, const char *key, size_t length, Place *place) noexcept:
        """Find a key's record in slot `first` of its bucket or a later one, and leave it pinned."""
        cdef uint64_t *bucket = self.map.bucket(hash)
        cdef int number
        for number in range(first, SLOTS):
            if self.look(&bucket[number], hash, place):
                if is_of(place.record, hash, key, length):
                    return True
                self.unpin(place.value)
        return False

    cdef inline bint find(self, uint64_t hash, const char *key, size_t length, Place *place) noexcept:
        return self.find_from(0, hash, key, length, place)

    cdef bint find_parent(self, accel_record *piece, uint64_t reference, Place *place) noexcept:
        """Find the stored parent that refers to a piece where it lies, and leave it pinned."""
        cdef uint64_t *bucket = self.map.bucket(piece.hash)
        cdef int number
        for number in range(SLOTS):
            if not self.look(&bucket[number], piece.hash, place):
                continue
            if (place.record.hash == piece.hash and place.record.shape == SHAPE_PARENT
                    and piece.pieces < place.record.pieces
                    and LOAD(&references(place.record)[piece.pieces]) == reference):
                return True
            self.unpin(place.value)
        return False

    cdef bint publish(self, accel_record *record, uint64_t value) noexcept:
        """Put a record under its key: over the key's slot, else into an empty one, else over the least useful."""
        cdef const char *key = <char *>record + HEAD
        cdef Place old
        cdef uint64_t *slot
        cdef uint64_t found
        cdef bint is_done
        cdef int attempt
        for attempt in range(ATTEMPTS):
            if self.find(record.hash, key, record.key_length, &old):
                reached(STEP_CHOSEN)
                slot, is_done = old.slot, SWAP(old.slot, old.value, value)
                self.unpin(old.value)
            else:
                slot = self.least_useful(record.hash)
                found = LOAD(slot)
                reached(STEP_CHOSEN)
                is_done = SWAP(slot, found, value)
                if is_done and found:
                    self.note_evicted()
            if is_done:
                reached(STEP_PUBLISHED)
                self.drop_twins(record.hash, key, record.key_length)
                return True
        return False

    cdef uint64_t *least_useful(self, uint64_t hash) noexcept:
        """Return an empty slot of the bucket, or the one whose record was used least. Reads unpinned: only a guess."""
        cdef uint64_t *bucket = self.map.bucket(hash)
        cdef uint64_t value, order, best_order = 0
        cdef uint32_t used, best_used = 0
        cdef int number, best = -1
        for number in range(SLOTS):
            value = LOAD(&bucket[number])
            if value == 0:
                return &bucket[number]
            used = count_in(PEEK(&(<accel_record *>self.map.at(value)).used))
            order = LOAD(&self.map.segments[segment_in(value)].order)
            if best < 0 or used < best_used or (used == best_used and order < best_order):
                best, best_used, best_order = number, used, order
        return &bucket[best]

    cdef void drop_twins(self, uint64_t hash, const char *key, size_t length) noexcept:
        """Two puts at once may each have found an empty slot: keep the lowest, as reading does."""
        cdef uint64_t *bucket = self.map.bucket(hash)
        cdef Place kept, twin
        if not self.find(hash, key, length, &kept):
            return
        while self.find_from(<int>(kept.slot - bucket) + 1, hash, key, length, &twin):
            SWAP(twin.slot, twin.value, 0)
            self.unpin(twin.value)
        self.unpin(kept.value)

    cdef int drop(self, uint64_t hash, const char *key, size_t length) noexcept:
        """Empty every slot of a key; return how many there were."""
        cdef Place place
        cdef int count = 0
        while self.find(hash, key, length, &place):
            reached(STEP_CHOSEN)
            count += SWAP(place.slot, place.value, 0)
            self.unpin(place.value)
        return count

    cdef void note_evicted(self) noexcept:
        if self.row < self.map.worker_rows:
            self.map.rows[self.row].evicted += 1


cdef inline bint is_of(accel_record *record, uint64_t hash, const char *key, size_t length) noexcept:
    """Whether a record is that of a key: compared in full."""
    return record.hash == hash and record.key_length == length and memcmp(<char *>record + HEAD, key, length) == 0
