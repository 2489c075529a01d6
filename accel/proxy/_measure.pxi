# Counting in the histograms of `stats.histograms`, and the clocks.

cdef extern from *:
    int leading_zeros "__builtin_clzll"(uint64_t value) nogil

cdef enum:
    SUB_BITS = 3  # as in `stats.histograms`, which the tests compare
    SCALE_BITS = 40

cdef inline void measure(uint64_t *histograms, int at, uint64_t value, uint64_t count) noexcept:
    """Count a value so often in the histogram at a word (`histograms.record`)."""
    cdef int shift
    if value >> SCALE_BITS:
        value = (<uint64_t>1 << SCALE_BITS) - 1
    shift = 60 - leading_zeros(value | 15)
    histograms[at + 1 + (shift << SUB_BITS) + <int>(value >> shift)] += count
    histograms[at] += value * count

cdef inline double seconds(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <double>now.tv_sec + <double>now.tv_nsec * 1e-9

cdef void *address(memory) except NULL:
    """Return where a memoryview's bytes lie, for as long as it is held."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(memory, &buffer, PyBUF_SIMPLE)
    PyBuffer_Release(&buffer)
    return buffer.buf
