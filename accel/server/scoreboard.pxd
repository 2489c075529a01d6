cimport cython

cdef Py_ssize_t _BACKEND_CHANGES, _IN_FLIGHT, _REQUESTS, _SUCCESSES, _CELL_WORDS


cdef class WorkerBoard:
    cdef object _board, _own, _on_failure
    cdef unsigned long long[::1] _words
    cdef Py_ssize_t _row, _cells_at
    cdef readonly object counters, histograms, override_uses, next_turn, is_available, ramp, in_flight

    @cython.locals(cell=Py_ssize_t)
    cpdef add_in_flight(self, Py_ssize_t row, int delta)
    cpdef note_success(self, Py_ssize_t row)
