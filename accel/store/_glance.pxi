# What compiled callers use of a store. First what they remember of a record without holding it: where it was found, to
# be found there again in a few loads.

@cython.no_gc
cdef class Glance:
    """A record that was in a slot: `take` says whether it still is, and pins it then.

    Its pointers are followed only behind a pin of the slot's value, as everybody's are: what a slot once said leads
    into the arena whatever lies there now, and the record's number, which is never given twice, tells it from another
    that was written to the same place.
    """

    def __init__(self):
        raise TypeError("made by the store that has the record")

    cdef bint take(self) noexcept:
        """Pin the record and note its use, if it is still what its slot says."""
        cdef Core store = <Core>self.store
        cdef accel_record *record = <accel_record *>self.record
        store.pin(self.value)
        FENCE()
        if LOAD(self.slot) != self.value or record.number != self.number:
            store.unpin(self.value)
            return False
        if PEEK(&record.used) != store.used_most:
            POKE(&record.used, used_of(store.map.epoch, min(count_in(PEEK(&record.used)) + 1, USED_MOST)))
        return True

    cdef void leave(self) noexcept:
        """Let go of what `take` pinned."""
        (<Core>self.store).unpin(self.value)

    cdef object keep(self):
        """Return the record that `take` pinned, its pin with it; None: a piece of it is gone, the pin with it."""
        return (<Core>self.store).held(<accel_record *>self.record, self.value)


cdef object glance_at(Core store, SharedRecord record):
    """Return what to remember of a record that is held; None if it is not what its key's slot says any more."""
    cdef Place place
    cdef Glance made
    cdef accel_record *there = record.record
    if not store.find(there.hash, <char *>there + HEAD, there.key_length, &place):
        return None
    made = Glance.__new__(Glance)
    made.store, made.slot, made.value, made.record, made.number = store, place.slot, place.value, there, there.number
    made.is_whole = there.shape == SHAPE_WHOLE
    made.length = there.body_length
    made.body = <char *>there + HEAD + there.key_length + there.meta_length
    store.unpin(place.value)
    return made if place.record == there else None


# Then verbs that make no objects.

cdef bint has_record(object store, bytes key) except -1:
    """Whether something is under a key, whole or not: that is for `get` to find out. Notes no use."""
    cdef Core core = <Core?>store
    cdef Place place
    if not core.find(core.hash_of(key), PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), &place):
        return False
    core.unpin(place.value)
    return True


cdef bint put_record(object store, bytes key, const char *meta, size_t meta_length, const char *body, size_t length) except -1:
    """Store a whole record at once, as `put`; False when there is no room."""
    cdef Core core = <Core?>store
    cdef Draft draft
    cdef uint64_t place
    if length > min(core.whole_bytes, core.max_body_bytes):
        return core.put(key, meta[:meta_length], body[:length]) is not None
    draft = core.draft(key, core.hash_of(key), b"")
    draft.kind = core.kind_for(draft.hash)
    draft.meta, draft.meta_length = meta, meta_length
    draft.rest, draft.rest_bytes, draft.body_length = body, length, length
    if core.write_visibly(&draft, True, &place) == NULL:
        return False
    core.unpin(place)
    return True
