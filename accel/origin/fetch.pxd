cimport cython

from accel.origin.attempt cimport Begun, RetryBudget
from accel.origin.balancer cimport Balancer
from accel.origin.pool cimport IdleConnections
from accel.origin.queue cimport FetchQueue
from accel.origin.wire cimport Wire

cdef Py_ssize_t _REUSES


cdef class Origin:
    cdef object _limits, _board, _traces
    cdef unsigned long long[::1] _counters
    cdef RetryBudget _budget
    cdef Balancer _balancer
    cdef readonly FetchQueue _queue
    cdef readonly dict _pools
    cdef readonly bytes host
    cdef bint _closes
    cdef int _reserved

    cpdef note_success(self, backend)
    @cython.locals(pool=IdleConnections)
    cpdef Begun lend(self)
