cdef class _Lately:
    cdef Py_ssize_t _half
    cdef dict _young, _old

    cdef get(self, key)
    cdef put(self, key, value)


cdef class Evidence:
    cdef readonly _Lately _pages, _kin

    cpdef note(self, bytes key, int status, is_storable)
    cdef _note_kin(self, bytes kin, bint is_storable)


cdef bytes _page(bytes key)
cdef bytes _kin(bytes page)
