from accel.origin.queue cimport FetchQueue
from accel.origin.wire cimport Wire


cdef class Begun:
    cdef FetchQueue _queue
    cdef readonly object backend
    cdef readonly Wire conn
    cdef public object parser, began_at, number


cdef class RetryBudget:
    cdef double _burst, _share, _tokens

    cpdef earn(self)
