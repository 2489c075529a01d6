cdef double _TICK_S, inf

cdef class Timed:
    cdef readonly object _loop
    cdef object _now, _timer
    cdef double _deadline, _due, _latest
    cdef str _why

    cdef _late(self, str why)
    cdef _end_within(self, double whole_s)
    cpdef _arm(self, double timeout_s, str why)
    cpdef _disarm(self)
    cdef _set_timer(self, double due)
    cpdef _cancel_timer(self)
