cdef class Balancer:
    cdef readonly tuple backends
    cdef tuple _first, _backups, _turns
    cdef object _board, _order, _random, _seen
    cdef long _max_connections
    cdef bint _takes_turns

    cpdef pick(self, exclude=*)
    cpdef release(self, backend)
    cdef _own_turn(self)
