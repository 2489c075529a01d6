# The policy: S3-FIFO (SOSP 2023) at the grain of segments. Every choice of what stays is in this file.

cdef inline bint survives(int kind, uint32_t used) noexcept:
    """Whether a walk copies a record on: it must have been used: on probation since it was written, later since the last walk."""
    return used >= (PROMOTE_AT if kind == KIND_PROBATION else 1)


cdef inline uint32_t used_after(int kind, uint32_t used) noexcept:
    """Return the `used` of a copy: nothing counted when it leaves probation, one less in the main segments."""
    cdef uint32_t count = count_in(used)
    return used - (count if kind == KIND_PROBATION else min(count, 1))


cdef inline bint is_probations_turn(uint64_t on_probation, uint64_t segment_count) noexcept:
    """Whether the next walk takes a probation segment."""
    return on_probation * PROBATION_SHARE >= segment_count


cdef inline uint32_t *ghost(Map map, uint64_t hash) noexcept:
    return map.ghosts + ((hash & 0xffffffffu) * map.ghost_count >> 32)


cdef inline void remember(Map map, uint64_t hash) noexcept:
    """Note that a key's record left probation unused."""
    POKE(ghost(map, hash), <uint32_t>(hash >> 32) | 1)


cdef inline bint is_back(Map map, uint64_t hash) noexcept:
    """Whether a key left probation lately; forgets it."""
    cdef uint32_t *noted = ghost(map, hash)
    if PEEK(noted) != (<uint32_t>(hash >> 32) | 1):
        return False
    POKE(noted, 0)
    return True
