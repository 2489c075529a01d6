# Space: the segments that this worker appends to, and how room is made.

cdef class Space(Index):
    """One worker's open segments, one of each kind, and the walks that it makes over old ones."""

    cdef accel_row *own
    cdef int64_t[2] opened  # by kind; -1: none
    cdef int64_t emptied  # the segment that we claimed and have not come through; -1: none
    cdef uint64_t emptied_to, spare
    cdef bint is_behind  # the last write left work to the next one
    cdef int64_t units  # of work that the present write may still do on old segments
    cdef public int64_t walk_units

    def __cinit__(self, *_, **__):
        if self.row >= self.map.worker_rows:
            raise ValueError("that row may look and not write")
        self.own = &self.map.rows[self.row]
        self.opened[KIND_PROBATION] = self.opened[KIND_MAIN] = self.emptied = -1
        self.spare = SPARE_SEGMENTS + self.map.segment_count // SEGMENTS_A_SPARE
        self.walk_units = WALK_UNITS

    cdef int kind_for(self, uint64_t hash) noexcept:
        """Return where a new record goes: on probation, unless its key left probation lately."""
        if not is_back(self.map, hash):
            return KIND_PROBATION
        self.own.returned += 1
        return KIND_MAIN

    # Appending.

    cdef size_t room(self, int kind) noexcept:
        """Return the bytes left in the open segment."""
        if self.opened[kind] < 0:
            return 0
        return self.map.segment_bytes - self.map.segments[self.opened[kind]].fill

    cdef bint make_room(self, int kind, size_t size) noexcept:
        """See to it that the open segment has room for `size` bytes; False: none can be made in one write's time."""
        if size > self.map.segment_bytes - FIRST_RECORD:
            return False
        if self.room(kind) < size:
            self.seal(kind)
        elif not self.is_behind:
            return True
        self.is_behind = not self.reclaim(self.walk_units + <int64_t>size // WRITTEN_A_UNIT, self.spare)
        if self.room(kind) >= size or self.open_free(kind):
            return True
        self.is_behind = True
        self.reclaim(self.walk_units * URGENT_WALKS, 0)
        return self.room(kind) >= size or self.open_free(kind)

    cdef accel_record *above_fill(self, int kind) noexcept:
        """Return where the next record goes: nobody looks there yet."""
        cdef int64_t number = self.opened[kind]
        cdef accel_segment *segment = &self.map.segments[number]
        cdef char *at = self.map.data + number * self.map.segment_bytes + segment.fill
        (<accel_record *>at).generation = generation_in(segment.word)
        return <accel_record *>at

    cdef uint64_t count_over(self, int kind, accel_record *record) noexcept:
        """The record above `fill` is whole: move `fill` over it and return its place."""
        cdef int64_t number = self.opened[kind]
        cdef accel_segment *segment = &self.map.segments[number]
        cdef uint64_t offset = segment.fill
        reached(STEP_WRITTEN)
        STORE(&segment.fill, offset + record.size)
        reached(STEP_COUNTED)
        return place_of(number, offset)

    cdef bint open_free(self, int kind) noexcept:
        """Take a free segment in place of the open one; False: there is none."""
        cdef accel_segment *segment
        cdef uint64_t number, word
        self.seal(kind)
        for number in range(self.map.segment_count):
            segment = &self.map.segments[number]
            word = LOAD(&segment.word)
            if state_in(word) != STATE_FREE:
                continue
            if SWAP(&segment.word, word, word_of(generation_in(word), self.row, kind, STATE_OPEN)):
                reached(STEP_OPENED)
                STORE(&segment.fill, FIRST_RECORD)
                STORE(&segment.order, TAKE_NEXT(&self.map.header.sequence))
                STORE(&segment.opened_at_ns, <uint64_t>seconds_now(NULL) * 1000000000u)
                self.opened[kind] = number
                return True
        return False

    cdef void seal(self, int kind) noexcept:
        """Give the open segment up to whoever needs space."""
        cdef accel_segment *segment
        if self.opened[kind] < 0:
            return
        segment = &self.map.segments[self.opened[kind]]
        SWAP(&segment.word, segment.word, in_state(segment.word, 0, STATE_SEALED))
        self.opened[kind] = -1

    # Reclaiming.

    cdef bint reclaim(self, int64_t units, uint64_t spare) noexcept:
        """Empty old segments until more than `spare` are free; False: so much work is done, the next write goes on."""
        self.units = units
        while self.units > 0:
            if self.emptied >= 0:
                self.empty()
            elif self.free_segments() > spare or not self.claim():
                return True
        return False

    cdef uint64_t free_segments(self) noexcept:
        """Count the free segments, with those that wait in LIMBO for pins that are gone."""
        cdef uint64_t number, count = 0
        for number in range(self.map.segment_count):
            if state_in(LOAD(&self.map.segments[number].word)) == STATE_LIMBO:
                self.release(number)
            count += state_in(LOAD(&self.map.segments[number].word)) == STATE_FREE
        return count

    cdef void release(self, uint64_t number) noexcept:
        """Free a segment in LIMBO, unless somebody still pins it."""
        cdef uint64_t *at = &self.map.segments[number].word
        cdef uint64_t word = LOAD(at)
        FENCE()
        if state_in(word) == STATE_LIMBO and not self.map.is_pinned(number):
            SWAP(at, word, word_of(generation_in(word) + 1, 0, 0, STATE_FREE))

    cdef bint claim(self) noexcept:
        """Begin to empty a segment, unless somebody else is faster; False: there is none that could be emptied."""
        cdef int64_t number = self.victim()
        cdef uint64_t *at
        cdef uint64_t word
        self.units -= self.map.segment_count // SEGMENTS_A_UNIT
        if number < 0:
            return False
        at = &self.map.segments[number].word
        word = LOAD(at)
        if state_in(word) == STATE_SEALED and SWAP(at, word, in_state(word, self.row, STATE_CLAIMED)):
            self.emptied, self.emptied_to = number, FIRST_RECORD
            reached(STEP_CLAIMED)
        return True

    cdef void empty(self) noexcept:
        """Go on with the claimed segment; free it if that comes to its end."""
        cdef uint64_t number = self.emptied
        cdef uint64_t *at = &self.map.segments[number].word
        cdef uint64_t word = LOAD(at)
        if not self.walk(number, word):
            reached(STEP_PAUSED)
            return
        self.emptied = -1
        reached(STEP_EMPTIED)
        SWAP(at, word, in_state(word, 0, STATE_LIMBO))
        reached(STEP_UNPOINTED)
        self.release(number)
        self.own.walked += 1

    cdef int64_t victim(self) noexcept:
        """Return the segment to walk next; -1: none is sealed and without pins."""
        cdef uint64_t number, word, on_probation = 0
        cdef int kind
        cdef int64_t found
        for number in range(self.map.segment_count):
            word = LOAD(&self.map.segments[number].word)
            on_probation += is_readable(word) and kind_in(word) == KIND_PROBATION
        kind = KIND_PROBATION if is_probations_turn(on_probation, self.map.segment_count) else KIND_MAIN
        found = self.oldest(kind)
        return found if found >= 0 else self.oldest(KIND_MAIN if kind == KIND_PROBATION else KIND_PROBATION)

    cdef int64_t oldest(self, int kind) noexcept:
        """Return the first opened of the sealed segments of a kind that nobody pins; -1: none."""
        cdef uint64_t number, word, order, passed = 0, lowest = 0
        cdef int64_t found
        cdef int attempt
        for attempt in range(ATTEMPTS):
            found = -1
            for number in range(self.map.segment_count):
                word, order = LOAD(&self.map.segments[number].word), LOAD(&self.map.segments[number].order)
                if state_in(word) != STATE_SEALED or kind_in(word) != kind or order <= passed:
                    continue
                if found < 0 or order < lowest:
                    found, lowest = number, order
            if found < 0 or not self.map.is_pinned(found):
                return found
            passed = lowest
        return -1

    cdef bint walk(self, uint64_t number, uint64_t word) noexcept:
        """Move on or drop what is still pointed to, from where we stopped; False: stopped again before the end."""
        cdef char *data = self.map.data + number * self.map.segment_bytes
        cdef uint64_t at, fill = LOAD(&self.map.segments[number].fill)
        cdef accel_record *record
        while self.emptied_to + HEAD <= fill:
            if self.units <= 0:
                return False
            self.units -= 1
            at = self.emptied_to
            record = <accel_record *>(data + at)
            if record.generation != generation_in(word) or record.size < HEAD or at + record.size > fill:
                return True
            if at + record.size + HEAD <= fill:
                PREFETCH(self.map.bucket((<accel_record *>(data + at + record.size)).hash))
            if record.shape == SHAPE_PIECE:
                self.move_piece(record, place_of(number, at), kind_in(word))
            else:
                self.move_record(record, place_of(number, at), kind_in(word))
            self.emptied_to = at + record.size
        return True

    cdef void move_record(self, accel_record *record, uint64_t place, int kind) noexcept:
        """Copy a record on if it was used, else drop it."""
        cdef uint64_t value = slot_of(record.hash, place), moved = 0
        cdef uint64_t *slot = self.map.slot_with(record.hash, value)
        if slot == NULL:
            return
        if survives(kind, count_in(PEEK(&record.used))):
            moved = self.copy(record, kind)
        if moved == 0:
            if SWAP(slot, value, 0):
                self.note_dropped(record, kind)
        elif SWAP(slot, value, slot_of(record.hash, moved)):
            reached(STEP_SWAPPED)
            self.own.moved += 1
            if record.shape == SHAPE_PARENT:
                self.settle(record, <accel_record *>self.map.at(moved))

    cdef void move_piece(self, accel_record *record, uint64_t place, int kind) noexcept:
        """Copy a piece on if its parent was used, else drop the parent; again if a newer parent refers to it too."""
        cdef uint64_t reference = reference_of(record.generation, place), moved = 0
        cdef Place parent
        while self.find_parent(record, reference, &parent):
            if moved == 0 and survives(kind, count_in(PEEK(&parent.record.used))):
                moved = self.copy(record, kind)
            if moved:
                SWAP(&references(parent.record)[record.pieces], reference, self.reference_to(moved))
            elif SWAP(parent.slot, parent.value, 0):
                self.note_dropped(parent.record, kind)
            self.unpin(parent.value)

    cdef uint64_t copy(self, accel_record *record, int kind) noexcept:
        """Copy a record to the main segments and return its place; 0: there is no room, and none is made here."""
        cdef accel_record *made
        cdef uint64_t place
        cdef uint32_t number
        if self.room(KIND_MAIN) < record.size and not self.open_free(KIND_MAIN):
            return 0
        self.units -= record.size // COPIED_A_UNIT
        made = self.above_fill(KIND_MAIN)
        made.size, made.used = record.size, used_after(kind, PEEK(&record.used))
        made.checksum = record.checksum
        memcpy(<char *>made + CHECKED_FROM, <char *>record + CHECKED_FROM, record.size - CHECKED_FROM)
        if record.shape == SHAPE_PARENT:
            for number in range(record.pieces):
                references(made)[number] = LOAD(&references(record)[number])
        place = self.count_over(KIND_MAIN, made)
        reached(STEP_COPIED)
        return place

    cdef void settle(self, accel_record *old, accel_record *new) noexcept:
        """A piece may have moved between our copying its parent and publishing the copy: take its new place over."""
        cdef uint64_t was, now
        cdef uint32_t number
        for number in range(new.pieces):
            now, was = LOAD(&references(old)[number]), LOAD(&references(new)[number])
            if now != was and self.is_staying(now) and not self.is_staying(was):
                SWAP(&references(new)[number], was, now)

    cdef bint is_staying(self, uint64_t reference) noexcept:
        """Whether a reference's segment is still the one meant and nobody empties it."""
        cdef uint64_t word = LOAD(&self.map.segments[segment_in(reference)].word)
        return reference_of(generation_in(word), reference & ((<uint64_t>1 << PLACE_BITS) - 1)) == reference and (
            state_in(word) == STATE_OPEN or state_in(word) == STATE_SEALED)

    cdef uint64_t reference_to(self, uint64_t place) noexcept:
        """Return a reference to what lies at a place now, in a segment of ours."""
        return reference_of(generation_in(LOAD(&self.map.segments[segment_in(place)].word)), place)

    cdef void note_dropped(self, accel_record *record, int kind) noexcept:
        self.own.evicted += 1
        if kind == KIND_PROBATION:
            remember(self.map, record.hash)
