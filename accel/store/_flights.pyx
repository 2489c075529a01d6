# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled side of `flights`: the few atomic steps on the table of fetches under way."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    static inline unsigned long long flight_load(unsigned long long *word) {
        return __atomic_load_n(word, __ATOMIC_SEQ_CST);
    }
    static inline int flight_swap_if(unsigned long long *word, unsigned long long was, unsigned long long next) {
        return __atomic_compare_exchange_n(word, &was, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline void flight_set_bits(unsigned long long *word, unsigned long long bits) {
        __atomic_fetch_or(word, bits, __ATOMIC_SEQ_CST);
    }
    static inline void flight_add_one(unsigned long long *word) {
        __atomic_fetch_add(word, 1, __ATOMIC_SEQ_CST);
    }
    static inline unsigned long long flight_take(unsigned long long *word) {
        return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
    }
    """
    unsigned long long flight_load(unsigned long long *word) nogil
    bint flight_swap_if(unsigned long long *word, unsigned long long was, unsigned long long next) nogil
    void flight_set_bits(unsigned long long *word, unsigned long long bits) nogil
    void flight_add_one(unsigned long long *word) nogil
    unsigned long long flight_take(unsigned long long *word) nogil

PLACE_WORDS = 4
"""Words of one place: the claim, two of waiting rows, how many steps fetches here have made."""
MOST_ROWS = 128

cdef int _PROBES = 4
cdef int _TURN_BITS = 24
cdef int _ROW_BITS = 8


cdef class Table:
    """Places for claims in a buffer that all processes map."""

    def __cinit__(self, mapping):
        PyObject_GetBuffer(mapping, &self.buffer, PyBUF_WRITABLE)
        self.words = <unsigned long long *> self.buffer.buf
        self.places = self.buffer.len // (8 * 4)

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    cpdef claim(self, unsigned long long hashed, unsigned long long row, unsigned long long turn):
        """Return place and claim: ours if it ends with our row and turn, another's, or (0, 0) if there is no room."""
        cdef unsigned long long tag = hashed >> 32
        cdef unsigned long long ours = (tag << (_TURN_BITS + _ROW_BITS)) | (row << _TURN_BITS)
        cdef unsigned long long there
        cdef uint64_t place
        cdef int probe
        ours |= turn & ((1 << _TURN_BITS) - 1)
        for probe in range(_PROBES):  # before a free place is taken: one may have become free before the key's own
            place = (hashed + probe) % self.places
            there = flight_load(&self.words[place * 4])
            if there != 0 and there >> (_TURN_BITS + _ROW_BITS) == tag:
                return place, there
        for probe in range(_PROBES):
            place = (hashed + probe) % self.places
            there = flight_load(&self.words[place * 4])
            if there == 0 and flight_swap_if(&self.words[place * 4], 0, ours):
                return place, ours
            there = flight_load(&self.words[place * 4])
            if there != 0 and there >> (_TURN_BITS + _ROW_BITS) == tag:
                return place, there
        return 0, 0

    def join(self, uint64_t place, unsigned long long claim, int row):
        """Ask to be woken when `claim` ends; False if it has ended."""
        flight_set_bits(&self.words[place * 4 + 1 + row // 64], 1ULL << (row % 64))
        return flight_load(&self.words[place * 4]) == claim

    def steps(self, uint64_t place):
        """Return how many steps fetches at this place have made: only grows."""
        return flight_load(&self.words[place * 4 + 3])

    def step(self, uint64_t place):
        """The fetch at this place, which is the caller's, has more to show; return the rows that wait to be woken."""
        flight_add_one(&self.words[place * 4 + 3])
        return self._take_waiting(place)

    def stands(self, uint64_t place, unsigned long long claim):
        """Whether the claim has not ended."""
        return flight_load(&self.words[place * 4]) == claim

    cpdef release(self, uint64_t place, unsigned long long claim):
        """End a claim; return the rows that wait to be woken, none if it had ended."""
        if not flight_swap_if(&self.words[place * 4], claim, 0):
            return []
        return self._take_waiting(place)

    def forget(self, unsigned long long row):
        """End every claim of a dead process; the caller wakes everybody."""
        cdef uint64_t place
        cdef unsigned long long there
        for place in range(self.places):
            there = flight_load(&self.words[place * 4])
            if there != 0 and (there >> _TURN_BITS) & ((1 << _ROW_BITS) - 1) == row:
                flight_swap_if(&self.words[place * 4], there, 0)

    cdef list _take_waiting(self, uint64_t place):
        cdef unsigned long long bits
        cdef int half, row
        rows = []
        for half in range(2):
            bits = flight_take(&self.words[place * 4 + 1 + half])
            for row in range(64 if bits else 0):
                if bits >> row & 1:
                    rows.append(half * 64 + row)
        return rows
