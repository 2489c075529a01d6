from accel.origin.balancer cimport Balancer


cdef class FetchQueue:
    cdef Balancer _balancer
    cdef Py_ssize_t _length
    cdef double _wait_s
    cdef object _waiters, _timer

    cpdef claim_now(self, exclude=*)
    cpdef release(self, backend)
    cpdef serve(self)
