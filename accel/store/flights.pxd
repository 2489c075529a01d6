from accel.store._flights cimport Table


cdef class Claim:
    cdef SharedFlights _flights
    cdef object _place, _claim
    cdef readonly bint leads, is_followed

    cpdef release(self)


cdef class SharedFlights:
    cdef Table _table
    cdef object _bells
    cdef readonly bytes name
    cdef object _row, _turn
    cdef readonly dict _waiting

    cpdef claim(self, bytes key)
    cpdef released(self, place, claim)
    cdef _ring(self, rows)
