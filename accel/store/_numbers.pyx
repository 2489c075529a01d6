# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled side of `numbers`: atomic steps on 64-bit words that several processes write."""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    static inline unsigned long long number_load(unsigned long long *word) {
        return __atomic_load_n(word, __ATOMIC_SEQ_CST);
    }
    static inline void number_store(unsigned long long *word, unsigned long long value) {
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
    }
    static inline unsigned long long number_next(unsigned long long *word) {
        return __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
    }
    static inline int number_swap_if(unsigned long long *word, unsigned long long was, unsigned long long next) {
        return __atomic_compare_exchange_n(word, &was, next, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline void number_raise(unsigned long long *word, unsigned long long value) {
        unsigned long long was = __atomic_load_n(word, __ATOMIC_SEQ_CST);
        while (was < value && !__atomic_compare_exchange_n(word, &was, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    }
    """
    unsigned long long number_load(unsigned long long *word) nogil
    void number_store(unsigned long long *word, unsigned long long value) nogil
    unsigned long long number_next(unsigned long long *word) nogil
    bint number_swap_if(unsigned long long *word, unsigned long long was, unsigned long long next) nogil
    void number_raise(unsigned long long *word, unsigned long long value) nogil


cdef class SharedWords:
    """The words of a buffer that several processes map and write; serves `numbers.Words`."""

    cdef Py_buffer buffer
    cdef unsigned long long *words

    def __cinit__(self, mapping):
        PyObject_GetBuffer(mapping, &self.buffer, PyBUF_WRITABLE)
        self.words = <unsigned long long *> self.buffer.buf

    def __dealloc__(self):
        PyBuffer_Release(&self.buffer)

    def load(self, uint64_t at):
        """Return a word; no later load of this process is older."""
        return number_load(&self.words[at])

    def store(self, uint64_t at, unsigned long long value):
        """Set a word, after everything that this process wrote before."""
        number_store(&self.words[at], value)

    def next(self, uint64_t at):
        """Add one; return the sum."""
        return number_next(&self.words[at])

    def swap_if(self, uint64_t at, unsigned long long was, unsigned long long value):
        """Set a word if it is `was`; whether it is set."""
        return number_swap_if(&self.words[at], was, value)

    def raise_to(self, uint64_t at, unsigned long long value):
        """Set a word unless it is larger."""
        number_raise(&self.words[at], value)

    def highest(self, tuple places not None):
        """Return the largest of several words."""
        cdef unsigned long long there, most = 0
        for at in places:
            there = number_load(&self.words[<uint64_t>at])
            most = max(most, there)
        return most
