# What is remembered: replays by their signatures. A table of hashes that is looked through from a hash's place on; what
# was not used since the hand passed makes room (CLOCK, Corbató 1968). Hits by the thousand wait for memory more than for
# instructions, so a replay is found with one load here, and all that is compared and written then lies in one block.

cdef extern from *:
    """
    static inline uint64_t accel_mixed(uint64_t one, uint64_t other) {
        unsigned __int128 product = (unsigned __int128)one * other;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    #define ACCEL_PREFETCH(at) __builtin_prefetch(at)
    """
    uint64_t accel_mixed(uint64_t one, uint64_t other) nogil
    void ACCEL_PREFETCH(const void *at) nogil

cdef enum:
    SECRET_WORDS = 3
    ROOM = 2  # places for each replay

cdef struct Known:
    uint64_t hash
    void *replay  # owned; NULL: the place is empty


cdef uint64_t mixed_hash(const uint64_t *secret, const char *data, size_t length) noexcept nogil:
    """Return a hash that nobody can aim at who does not know the secret (after wyhash, Wang Yi 2019)."""
    cdef uint64_t state = secret[0] ^ length
    cdef uint64_t[2] words
    cdef size_t at = 0
    while at + 16 < length:
        memcpy(words, data + at, 16)
        state = accel_mixed(words[0] ^ secret[1], words[1] ^ state)
        at += 16
    words[0] = words[1] = 0
    memcpy(words, data + at, length - at)
    state = accel_mixed(words[0] ^ secret[1], words[1] ^ state)
    return accel_mixed(state ^ secret[2], secret[1])


@cython.final
cdef class Memory:
    """Replays, each under its signature."""

    cdef Known *places
    cdef size_t mask, count, most, bytes, most_bytes, hand
    cdef uint64_t[SECRET_WORDS] secret

    def __cinit__(self, size_t most, size_t most_bytes):
        """Have room for so many, and for so many bytes of signatures, heads and what is logged."""
        cdef size_t size = 16
        cdef bytes secret = urandom(SECRET_WORDS * 8)
        while size < most * ROOM:
            size *= 2
        self.mask, self.most, self.most_bytes = size - 1, most, most_bytes
        self.places = <Known *>calloc(size, sizeof(Known))
        if self.places == NULL:
            raise MemoryError
        memcpy(self.secret, PyBytes_AS_STRING(secret), SECRET_WORDS * 8)

    def __dealloc__(self):
        if self.places != NULL:
            self.clear()
            free(self.places)

    cdef inline uint64_t hash(self, const char *signature, size_t length) noexcept:
        return mixed_hash(self.secret, signature, length)

    cdef Known *find(self, uint64_t hash, const char *signature, size_t length) noexcept:
        """Return the place of a signature's replay, or the empty one that it would get."""
        cdef Known *place = &self.places[hash & self.mask]
        while place.replay != NULL:
            if place.hash == hash and (<Replay>place.replay).is_for(signature, length):
                return place
            place = &self.places[(place - self.places + 1) & self.mask]
        return place

    cdef keep(self, Replay replay):
        """Remember a replay under its signature, instead of the last one."""
        cdef uint64_t hash = self.hash(replay.text, replay.signature_length)
        cdef Known *place = self.find(hash, replay.text, replay.signature_length)
        if place.replay != NULL:
            self.drop(place)
        while self.count and (self.count >= self.most or self.bytes + replay.text_length > self.most_bytes):
            self.make_room()
        place = self.find(hash, replay.text, replay.signature_length)
        Py_INCREF(replay)
        place.hash, place.replay = hash, <void *>replay
        self.count += 1
        self.bytes += replay.text_length

    cdef make_room(self):
        """Drop the next one that was not used since the hand passed."""
        cdef Known *place
        while True:
            place = &self.places[self.hand & self.mask]
            if place.replay != NULL:
                if not (<Replay>place.replay).was_used:
                    self.drop(place)
                    return
                (<Replay>place.replay).was_used = False
            self.hand += 1

    cdef drop(self, Known *place):
        """Forget a replay; those behind it that it was in the way of move up (Knuth 6.4, algorithm R)."""
        cdef Replay replay = <Replay>place.replay
        cdef size_t hole = place - self.places, at = hole
        self.count -= 1
        self.bytes -= replay.text_length
        while True:
            at = (at + 1) & self.mask
            if self.places[at].replay == NULL:
                break
            if ((at - self.places[at].hash) & self.mask) >= ((at - hole) & self.mask):
                self.places[hole] = self.places[at]
                hole = at
        self.places[hole].replay = NULL
        Py_DECREF(replay)
        replay.settle()

    cdef clear(self):
        """Forget all."""
        cdef size_t at
        cdef Replay replay
        for at in range(self.mask + 1):
            if self.places[at].replay != NULL:
                replay = <Replay>self.places[at].replay
                self.places[at].replay = NULL
                Py_DECREF(replay)
                replay.settle()
        self.count = self.bytes = 0
