# What other compiled modules may use of a client's connection.

from libc.stdint cimport uint64_t

from accel.net._sockets cimport SocketTransport

cdef class ClientEnd:
    cdef public object phase
    cdef public double since
    cdef public str client_ip
    cdef public uint64_t id, exchanges
    cdef object _transport
    cdef SocketTransport socket
    cdef int fd

    cdef bint holds(self) except -1
    cdef int open_fd(self) except -2
