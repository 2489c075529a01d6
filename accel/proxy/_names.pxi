# Names to be found in a head, and what each means to whoever looks.

cdef enum:
    NAME_BYTES = 40

cdef struct Named:
    uint8_t kind, length
    uint16_t slot
    char[NAME_BYTES] name


@cython.final
cdef class Names:
    """Names to be found in a head: a hash table whose unknown names mostly meet an empty place."""

    cdef Named *places
    cdef unsigned int mask

    def __cinit__(self, int count):
        cdef unsigned int size = 512
        while size < <unsigned int>count * 8:
            size *= 2
        self.mask = size - 1
        self.places = <Named *>calloc(size, sizeof(Named))
        if self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.places)

    cdef add(self, bytes name, int kind, int slot):
        """Add a name; one that is there stays what it is. Raises ValueError if it is too long."""
        cdef Named *place
        if not 0 < len(name) <= NAME_BYTES:
            raise ValueError("a name is too long")
        place = &self.places[self.place_of(PyBytes_AS_STRING(name), len(name))]
        while place.length:
            if place.name[: place.length] == name:
                return
            place = self.after(place)
        place.kind, place.length, place.slot = kind, len(name), slot
        memcpy(place.name, PyBytes_AS_STRING(name), len(name))

    cdef inline Named *field(self, const Text *name) noexcept nogil:
        """Return what a field is, whatever the case of its name; NULL: nothing."""
        cdef Named *place = &self.places[self.place_of(name.at, name.length)]
        while place.length and not is_name(name, place.name, place.length):
            place = self.after(place)
        return place if place.length else NULL

    cdef inline Named *cookie(self, const Text *name) noexcept nogil:
        """Return what a cookie is; NULL: nothing."""
        cdef Named *place
        if name.length == 0:
            return NULL
        place = &self.places[self.place_of(name.at, name.length)]
        while place.length and not (place.length == name.length and memcmp(place.name, name.at, name.length) == 0):
            place = self.after(place)
        return place if place.length else NULL

    cdef inline unsigned int place_of(self, const char *name, size_t length) noexcept nogil:
        # The last but one: names that end with numbers are many at once, and would meet in ten places.
        return (LOWER[<uint8_t>name[0]] * 31 + LOWER[<uint8_t>name[length - 1]] * 139
                + LOWER[<uint8_t>name[length - 1 - (length > 1)]] * 73 + length * 5) & self.mask

    cdef inline Named *after(self, Named *place) noexcept nogil:
        return self.places if place == &self.places[self.mask] else place + 1
