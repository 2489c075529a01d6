cimport cython

from accel.origin.queue cimport FetchQueue
from accel.origin.wire cimport Keeper, Wire


cdef class IdleConnections(Keeper):
    cdef readonly object backend
    cdef FetchQueue _queue
    cdef Py_ssize_t _keeps
    cdef double _keeps_s
    cdef list _idle
    cdef bint _is_closed

    @cython.locals(conn=Wire)
    cpdef Wire check_out(self)
    cpdef close(self)
    cdef exchange_ended(self, Wire conn, bint may_reuse)
    cdef connection_ended(self, Wire conn)
    cdef _keep(self, Wire conn)
