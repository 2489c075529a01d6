# What other compiled modules may use of the sockets of `_sockets.pyx`.

cdef class SocketReader:
    cdef int received(self, SocketTransport transport, const char *data, size_t length) except -1

cdef class Poller:
    cdef object loop
    cdef int fd
    cdef int room
    cdef void **transports  # by file descriptor; each holds a reference
    cdef char *scratch

    cdef report(self, SocketTransport transport, error)
    cdef int watch(self, SocketTransport transport, unsigned int wanted) except -1
    cdef int keep(self, SocketTransport transport) except -1
    cdef void let_go(self, SocketTransport transport) noexcept
    cdef int reads(self, SocketTransport transport) except -1

cdef class SocketTransport:
    cdef readonly int fd  # -1: closed
    cdef Poller poller
    cdef SocketReader reader  # None: the protocol gets all that comes
    cdef object protocol, peer
    cdef object backlog  # a deque of what the socket has not taken; None: it never left anything
    cdef size_t backlog_bytes, high, low
    cdef size_t most_bytes  # of one read
    cdef unsigned int wanted  # events
    cdef bint is_paused  # reading
    cdef bint is_held  # the protocol was told to pause writing
    cdef bint is_shut  # closing, or closed
    cdef bint is_ended  # the peer's side: nothing more comes
    cdef bint has_eof  # ours: nothing may be written any more

    cdef ssize_t send_now(self, const char *data, size_t length) except -2
    cdef int keep_rest(self, object rest) except -1
    cdef int want(self) except -1
    cdef int on_events(self, unsigned int events) except -1
    cdef int on_writable(self) except -1
    cdef int on_end(self) except -1
    cdef int drop(self, ssize_t sent) except -1
    cdef int finish(self, object error) except -1
