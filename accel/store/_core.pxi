# The store's verbs, and a record under way.

cdef struct Draft:
    # What a record is written from.
    int kind  # of segment
    uint32_t shape, pieces
    uint64_t hash, body_length
    uint64_t identity  # of a body in pieces; 0 of a whole one
    const char *key
    size_t key_length
    const char *meta
    size_t meta_length
    const char *rest  # the body, a piece of one, or references
    size_t rest_bytes


cdef class Core(Space):
    """The store in one worker: `store.Store` but for its constructor, which `shared.SharedStore` gives it."""

    cdef readonly uint64_t max_body_bytes, whole_bytes, buffered_bytes
    cdef public uint64_t writer_bytes
    cdef uint64_t decoded_records
    cdef uint32_t used_most
    cdef object decoded  # by record number, least recently used first

    def __init__(self, max_body_bytes, writer_bytes, decoded_records):
        self.max_body_bytes, self.writer_bytes, self.decoded_records = max_body_bytes, writer_bytes, decoded_records
        self.whole_bytes = self.map.segment_bytes // LARGEST_SHARE
        self.used_most = used_of(self.map.epoch, USED_MOST)
        self.decoded = OrderedDict()

    def get(self, bytes key not None):
        """Return the record and note its use, or None."""
        cdef uint64_t hash = self.hash_of(key)
        cdef SharedRecord record
        cdef Place place
        cdef uint32_t used
        cdef int attempt
        for attempt in range(ATTEMPTS):
            if not self.find(hash, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), &place):
                return None
            used = PEEK(&place.record.used)
            record = self.held(place.record, place.value)
            if record is not None and (is_known_in(used, self.map.epoch) or record.is_intact()):
                if used != self.used_most:
                    POKE(&place.record.used, used_of(self.map.epoch, min(count_in(used) + 1, USED_MOST)))
                return record
            if SWAP(place.slot, place.value, 0):  # nobody has mended it: a piece is gone for good, or a byte is wrong
                self.own.broken += record is None
                self.own.torn += record is not None
        return None

    def put(self, bytes key not None, bytes meta not None, bytes body not None = b""):
        """Store a whole record at once; None when there is no room."""
        cdef SharedWriter writer
        cdef Draft draft
        if <uint64_t>PyBytes_GET_SIZE(body) > self.whole_bytes:
            writer = self.create(key, PyBytes_GET_SIZE(body))
            return writer.commit(meta) if writer is not None and writer.append(body) else None
        if <uint64_t>PyBytes_GET_SIZE(body) > self.max_body_bytes:
            return None
        draft = self.draft(key, self.hash_of(key), meta)
        draft.kind = self.kind_for(draft.hash)
        draft.rest, draft.rest_bytes = PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)
        draft.body_length = draft.rest_bytes
        return self.put_draft(&draft)

    def create(self, bytes key not None, length):
        """Begin a record of `length` bytes (None: unknown); None when it can never fit."""
        cdef SharedWriter writer
        if length is not None and length > self.max_body_bytes:
            return None
        writer = SharedWriter.__new__(SharedWriter)
        writer.store, writer.key, writer.hash = self, key, self.hash_of(key)
        writer.kind = self.kind_for(writer.hash)
        writer.bound = self.max_body_bytes if length is None else length
        writer.is_exact, writer.is_open, writer.shown = length is not None, True, -1
        return writer

    def freshen(self, SharedRecord record not None, bytes meta not None):
        """Replace `record` by one with the same body and new `meta`; None when it is no longer stored."""
        cdef char *key = <char *>record.record + HEAD
        cdef accel_record *made
        cdef uint64_t made_at
        cdef bint is_done
        cdef Place old
        cdef int attempt
        for attempt in range(ATTEMPTS):
            if not self.find(record.record.hash, key, record.record.key_length, &old):
                return None
            made = NULL
            if old.record.number == record.record.number:
                made = self.write_with_meta(old.record, meta, &made_at)
                reached(STEP_CHOSEN)
            is_done = made != NULL and SWAP(old.slot, old.value, slot_of(made.hash, made_at))
            if is_done and made.shape == SHAPE_PARENT:
                reached(STEP_SWAPPED)
                self.settle(old.record, made)
            self.unpin(old.value)
            if made == NULL:
                return None
            if is_done:
                return self.held(made, made_at)
            self.unpin(made_at)
        return None

    def remove(self, bytes key not None) -> bool:
        """Drop the record of `key`; whether there was one."""
        return self.drop(self.hash_of(key), PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) > 0

    def glance(self, SharedRecord record not None):
        """Return what to remember of a record that is held, for compiled callers; None if it was replaced."""
        return glance_at(self, record)

    def clear(self) -> int:
        """Drop everything; return how many records went."""
        cdef uint64_t at, value, count = 0
        for at in range(self.map.bucket_count * SLOTS):
            value = LOAD(&self.map.slots[at])
            count += value != 0 and SWAP(&self.map.slots[at], value, 0)
        return count

    @property
    def used_bytes(self) -> int:
        """Bytes of the tables, of all segments that are not free, and of this worker's writers."""
        return self.map.taken_bytes() + self.buffered_bytes

    @property
    def record_count(self) -> int:
        """Records that `get` can return."""
        return self.map.count_records()

    # Below the verbs.

    cdef object decoded_of(self, uint64_t number):
        """Return what a caller made of a record's meta; None: nothing, or it was dropped for others since."""
        cdef object found = self.decoded.get(number)
        if found is not None:
            self.decoded.move_to_end(number)
        return found

    cdef object keep_decoded(self, uint64_t number, object made):
        self.decoded[number] = made
        if <uint64_t>len(self.decoded) > self.decoded_records:
            self.decoded.popitem(last=False)

    cdef inline uint64_t hash_of(self, bytes key) noexcept:
        return self.map.hash(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))

    cdef SharedRecord held(self, accel_record *record, uint64_t value):
        """Hand a pinned record out, its pin with it; None: a piece of its body is gone, the pin with it."""
        cdef SharedRecord made = SharedRecord.__new__(SharedRecord)
        made.store, made.record, made.value = self, record, value
        if record.shape == SHAPE_PARENT and not made.pin_pieces():
            return None
        return made

    cdef Draft draft(self, bytes key, uint64_t hash, bytes meta) noexcept:
        cdef Draft draft
        memset(&draft, 0, sizeof(Draft))
        draft.shape, draft.hash = SHAPE_WHOLE, hash
        draft.key, draft.key_length = PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)
        draft.meta, draft.meta_length = PyBytes_AS_STRING(meta), PyBytes_GET_SIZE(meta)
        return draft

    cdef inline uint64_t next_number(self) noexcept:
        """Return a number that no record and no body has had."""
        self.own.numbered += 1
        return self.row << 48 | self.own.numbered

    cdef accel_record *write(self, Draft *draft, uint64_t *place) noexcept:
        """Append a record and pin it; NULL: there is no room. Nothing points to it yet."""
        cdef size_t size = record_bytes(draft.shape, draft.key_length, draft.meta_length, draft.rest_bytes)
        cdef accel_record *made
        cdef char *payload
        if not self.make_room(draft.kind, size):
            return NULL
        made = self.above_fill(draft.kind)
        payload = <char *>made + HEAD
        made.number = draft.identity if draft.shape == SHAPE_PIECE else self.next_number()
        made.size, made.used, made.shape, made.pieces = size, used_of(self.map.epoch, 0), draft.shape, draft.pieces
        made.hash, made.body_length = draft.hash, draft.body_length
        made.key_length, made.meta_length = draft.key_length, draft.meta_length
        memcpy(payload, draft.key, draft.key_length)
        memcpy(payload + draft.key_length, draft.meta, draft.meta_length)
        payload += draft.key_length + draft.meta_length
        if draft.shape == SHAPE_PARENT:
            identity(made)[0], payload = draft.identity, <char *>references(made)
        if draft.rest_bytes:
            memcpy(payload, draft.rest, draft.rest_bytes)
        made.checksum = self.map.checksum(made)
        place[0] = self.count_over(draft.kind, made)
        self.pin(place[0])
        return made

    cdef SharedRecord put_draft(self, Draft *draft, bint is_visible=True):
        """Write a record and make it visible, unless its maker alone is to read it; None when there is no room."""
        cdef uint64_t place
        cdef accel_record *made = self.write_visibly(draft, is_visible, &place)
        return None if made == NULL else self.held(made, place)

    cdef accel_record *write_visibly(self, Draft *draft, bint is_visible, uint64_t *place) noexcept:
        """As `put_draft`, the record pinned; NULL when there is no room."""
        cdef accel_record *made = self.write(draft, place)
        if made != NULL and (not is_visible or self.publish(made, slot_of(made.hash, place[0]))):
            return made
        if made != NULL:
            self.unpin(place[0])
        self.own.refused += 1
        return NULL

    cdef accel_record *write_with_meta(self, accel_record *old, bytes meta, uint64_t *place):
        """Write a record with the key and body of a pinned one; NULL: there is no room."""
        cdef Draft draft
        cdef accel_record *made
        cdef char *key = <char *>old + HEAD
        cdef uint32_t number
        memset(&draft, 0, sizeof(Draft))
        draft.kind, draft.hash, draft.shape, draft.pieces = KIND_PROBATION, old.hash, old.shape, old.pieces
        draft.key, draft.key_length, draft.body_length = key, old.key_length, old.body_length
        draft.meta, draft.meta_length = PyBytes_AS_STRING(meta), PyBytes_GET_SIZE(meta)
        draft.rest, draft.rest_bytes = key + old.key_length + old.meta_length, old.body_length
        if old.shape == SHAPE_PARENT:
            draft.rest, draft.rest_bytes = <char *>references(old), old.pieces * sizeof(uint64_t)
            draft.identity = identity(old)[0]
        made = self.write(&draft, place)
        if made == NULL:
            self.own.refused += 1
            return NULL
        made.used = PEEK(&old.used)
        if made.shape == SHAPE_PARENT:
            for number in range(made.pieces):
                references(made)[number] = LOAD(&references(old)[number])
        return made
