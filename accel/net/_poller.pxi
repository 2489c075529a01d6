# The epoll set of one event loop, and who is called when one of its sockets is ready.

cdef class SocketReader:
    """Who gets what comes before it is made an object; the protocol then gets only what this one gives it."""

    cdef int received(self, SocketTransport transport, const char *data, size_t length) except -1:
        transport.protocol.data_received(PyBytes_FromStringAndSize(data, length))
        return 0


cdef class Poller:
    """The sockets of one event loop."""

    def __cinit__(self, loop):
        """OSError: no descriptor is left."""
        self.loop, self.fd, self.room = loop, -1, 64
        self.transports = <void **>calloc(self.room, sizeof(void *))
        self.scratch = <char *>malloc(SCRATCH)
        if self.transports == NULL or self.scratch == NULL:
            raise MemoryError
        self.fd = epoll_create1(EPOLL_CLOEXEC)
        if self.fd < 0:
            raise failure()
        loop.add_reader(self.fd, self.turn)

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)
        free(self.transports)
        free(self.scratch)

    def close(self):
        """Serve nobody any more; to be called when no transport is left, or the loop ends."""
        if self.fd >= 0:
            self.loop.remove_reader(self.fd)
            close(self.fd)
            self.fd = -1

    def accept(self, int listening):
        """Return the next connection of a listening socket: its descriptor, which does not block, and its peer's address.

        The address is (IP address, port), or "" for a unix socket. BlockingIOError: nobody waits; OSError as by accept(2).
        """
        return accept_one(listening)

    def attach(self, int fd, protocol, peer=None, SocketReader reader=None, int most_bytes=SCRATCH):
        """Return the transport of a connected socket that does not block; it is the transport's from now on.

        No read takes more than `most_bytes`, nor than 64 KiB.

        `protocol.connection_made` is called before this returns. OSError: nothing more can be watched; it is closed.
        """
        cdef SocketTransport transport = SocketTransport.__new__(SocketTransport)
        transport.poller, transport.fd, transport.protocol, transport.peer = self, fd, protocol, peer
        transport.reader, transport.high, transport.low = reader, HIGH, HIGH // 4
        transport.most_bytes = max(1, min(most_bytes, SCRATCH))
        try:
            self.keep(transport)
            self.watch(transport, EPOLLIN)
        except (OSError, MemoryError):
            self.let_go(transport)
            close(fd)
            transport.fd = -1
            raise
        try:
            protocol.connection_made(transport)
        except Exception as error:
            self.report(transport, error)
        return transport

    def turn(self):
        """Serve the sockets that are ready."""
        cdef epoll_event[MOST_EVENTS] events
        cdef SocketTransport transport
        cdef int at, fd, count
        count = epoll_wait(self.fd, events, MOST_EVENTS, 0)
        for at in range(count):
            fd = events[at].data.fd
            if fd >= self.room or self.transports[fd] == NULL:
                continue
            transport = <SocketTransport>self.transports[fd]
            try:
                transport.on_events(events[at].events)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                self.report(transport, error)

    cdef report(self, SocketTransport transport, error):
        """Close the connection of a protocol that raised."""
        context = {"message": "a protocol failed", "exception": error, "transport": transport}
        self.loop.call_exception_handler(context | {"protocol": transport.protocol})
        transport.finish(error)

    cdef int watch(self, SocketTransport transport, unsigned int wanted) except -1:
        """Have the kernel tell of these events of a socket, and of no others."""
        cdef epoll_event event
        cdef int what = EPOLL_CTL_ADD if not transport.wanted else EPOLL_CTL_MOD if wanted else EPOLL_CTL_DEL
        event.events, event.data.fd = wanted, transport.fd
        if epoll_ctl(self.fd, what, transport.fd, &event) < 0:
            raise failure()
        transport.wanted = wanted
        return 0

    cdef int keep(self, SocketTransport transport) except -1:
        cdef int room = self.room
        cdef void **grown
        if transport.fd >= room:
            while transport.fd >= room:
                room *= 2
            grown = <void **>realloc(self.transports, room * sizeof(void *))
            if grown == NULL:
                raise MemoryError
            memset(grown + self.room, 0, (room - self.room) * sizeof(void *))
            self.transports, self.room = grown, room
        Py_INCREF(transport)
        self.transports[transport.fd] = <void *>transport
        return 0

    cdef void let_go(self, SocketTransport transport) noexcept:
        if transport.fd < self.room and self.transports[transport.fd] == <void *>transport:
            self.transports[transport.fd] = NULL
            Py_DECREF(transport)

    cdef int reads(self, SocketTransport transport) except -1:
        """Give a transport's protocol what its socket has; the next one uses the same memory."""
        cdef ssize_t size = recv(transport.fd, self.scratch, transport.most_bytes, MSG_DONTWAIT)
        if size > 0:
            if transport.reader is not None:
                transport.reader.received(transport, self.scratch, size)
            else:
                transport.protocol.data_received(PyBytes_FromStringAndSize(self.scratch, size))
        elif size == 0:
            transport.on_end()
        elif errno != EAGAIN and errno != EINTR:
            transport.finish(failure())
        return 0
