# What compiled code needs to know of a client's connection; `proxy.connection.ClientConnection` is one.

cdef class ClientEnd:
    """The part of a client's connection that replays and relays use; see `proxy.client_end` for what each is."""

    @property
    def transport(self):
        """The loop's end."""
        return self._transport

    @transport.setter
    def transport(self, transport):
        self._transport = transport
        if isinstance(transport, SocketTransport):
            self.socket = transport
        else:
            sock = transport.get_extra_info("socket")
            self.socket, self.fd = None, -1 if sock is None else sock.fileno()

    cdef bint holds(self) except -1:
        """Whether something that was written has not gone out."""
        return self.socket.backlog_bytes > 0 if self.socket is not None else self._transport.get_write_buffer_size() > 0

    cdef int open_fd(self) except -2:
        """Return the socket, which may be written to beside the transport; -1 if there is none.

        Of a transport that is closing the socket is gone, and its number may be another's.
        """
        if self.socket is not None:
            return self.socket.fd
        return -1 if self.fd < 0 or self._transport.is_closing() else self.fd
