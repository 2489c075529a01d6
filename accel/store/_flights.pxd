from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint64_t


cdef class Table:
    cdef Py_buffer buffer
    cdef unsigned long long *words
    cdef uint64_t places

    cpdef claim(self, unsigned long long hashed, unsigned long long row, unsigned long long turn)
    cpdef release(self, uint64_t place, unsigned long long claim)
    cdef list _take_waiting(self, uint64_t place)
