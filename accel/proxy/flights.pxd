cdef class Flights:
    cdef readonly dict _flights, _storing

    cpdef bint is_flying(self, bytes key) except -1
    cpdef add(self, bytes key, flight)
    cpdef remove(self, bytes key, flight)
