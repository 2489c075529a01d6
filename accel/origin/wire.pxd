from accel.origin.timed cimport Timed

cdef Py_ssize_t _BYTES_IN, _BYTES_OUT
cdef double inf


cdef class Passer:
    cdef readonly bint started, complete, may_reuse

    cdef feed(self, bytes data)
    cdef ended(self)


cdef class Keeper:
    cdef exchange_ended(self, Wire conn, bint may_reuse)
    cdef connection_ended(self, Wire conn)


cdef class Wire(Timed):
    cdef Keeper _keeper
    cdef double _first_byte_s, _whole_s
    cdef readonly double _between_bytes_s
    cdef unsigned long long[::1] _counters
    cdef bytearray _scratch
    cdef char *_bytes
    cdef readonly object _transport, _parser
    cdef Passer _passer
    cdef bint _is_sent
    cdef readonly bint _is_paused, _is_write_paused
    cdef public object _waiter, _drain_waiter
    cdef readonly object error
    cdef int _exchanges
    cdef readonly double idle_since

    cdef bint may_begin(self) except -1
    cdef carry(self, Passer passer, bytes head)
    cdef _begin(self, parser, bytes head)
    cdef _send(self, bytes data)
    cdef _owe_answer(self)
    cdef await_more(self, Passer passer)
    cpdef fail(self, parser, error)
    cpdef rest(self, double idle_s)
    cpdef close(self)
    cpdef data_received(self, bytes data)
    cdef _take(self, parser, bytes data)
    cdef _complete(self, bint may_reuse)
    cdef _end(self, bint may_reuse)
    cdef _pause(self)
    cpdef _resume(self)
    cdef _wake(self)
    cdef _wake_drain(self)
