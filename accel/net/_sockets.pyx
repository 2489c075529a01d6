# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=False
"""A transport (PEP 3156) whose socket is read and written by compiled code, and the epoll set that all of a loop's share.

Owns sockets that are connected already; knows no protocol but by asyncio's words. The set is itself one readable file of
the event loop: when any of its sockets is ready the loop calls `Poller.turn`, which serves all that are. So a read costs
a `recv` and a call, a write a `send`, and an idle connection this one object.

Invariants: a protocol is called in the loop's turn and never from within its own call, save `pause_writing`, which asyncio
calls from `write`; bytes leave in the order in which they were written; whatever the socket does not take at once waits
in `backlog` with its buffers held, and goes when that is let go; `connection_lost` comes once, in a later turn, and by
then the descriptor is closed.

Attack. A socket that was closed, by somebody served earlier in the turn, has an event left: its place is empty, or has
a socket with the same number, of which the event says nothing: reading that once for nothing is harmless. Nobody wants
anything of a socket whose peer resets it: an empty set of events still hears that, again and again, so such a socket is
taken out. The protocol raises: the loop's handler hears of it, and the connection is closed, as asyncio does. A peer
that takes nothing: `write` says so to the protocol, whose part it is to stop. A peer that sends without end: one read
of SCRATCH bytes a turn, and the kernel rotates who is ready. A copy of a descriptor, in a forked child: the kernel would
tell of a socket that we closed for ever, so a process with a poller does not fork; a worker never does.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset
from posix.unistd cimport close

from collections import deque
from os import strerror

include "_calls.pxi"

cdef enum:
    SCRATCH = 64 * 1024
    MOST_EVENTS = 128
    MOST_PARTS = 64  # of a backlog, in one call
    HIGH = 64 * 1024


include "_poller.pxi"


cdef class SocketTransport:
    """One connection; its methods are asyncio's."""

    def get_extra_info(self, name, default=None):
        """Return "peername", "sockname", or "socket" with what may be done to that."""
        if name == "peername":
            return self.peer
        if name == "sockname" and self.fd >= 0:
            return own_name(self.fd)
        return SocketOptions(self) if name == "socket" and self.fd >= 0 else default

    def set_protocol(self, protocol):
        """Let another protocol get what comes."""
        self.protocol, self.reader = protocol, None

    def get_protocol(self):
        """Return who gets what comes."""
        return self.protocol

    # Reading.

    def is_reading(self):
        """Whether the protocol gets what comes."""
        return not self.is_paused and not self.is_shut

    def pause_reading(self):
        """Let what comes wait in the socket."""
        if not self.is_paused:
            self.is_paused = True
            self.want()

    def resume_reading(self):
        """Read again, in a later turn."""
        if self.is_paused:
            self.is_paused = False
            self.want()

    # Writing.

    def set_write_buffer_limits(self, high=None, low=None):
        """Say to the protocol when more than `high` bytes wait, and then when at most `low` (a quarter) do."""
        self.high = HIGH if high is None else high
        self.low = self.high // 4 if low is None else low

    def get_write_buffer_size(self):
        """Return how many bytes wait."""
        return self.backlog_bytes

    def write(self, data):
        """Send. What the socket does not take waits; RuntimeError after `write_eof`."""
        cdef Py_buffer buffer
        cdef ssize_t sent
        if self.has_eof:
            raise RuntimeError("a write after write_eof")
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            sent = self.send_now(<const char *>buffer.buf, buffer.len)
            if sent == buffer.len or self.fd < 0:
                return
            # What may be changed by its owner is copied; what is long lies still and is kept.
            self.keep_rest(bytes(data)[sent:] if isinstance(data, bytearray) else memoryview(data)[sent:])
        finally:
            PyBuffer_Release(&buffer)

    def writelines(self, buffers):
        """Send several, in one call if the socket takes them."""
        if self.has_eof:
            raise RuntimeError("a write after write_eof")
        if self.fd < 0:
            return
        if self.backlog is None:
            self.backlog = deque()
        is_first = not self.backlog_bytes
        for data in buffers:
            view = memoryview(data)
            if view.nbytes:
                self.backlog.append(view)
                self.backlog_bytes += view.nbytes
        if is_first:
            self.on_writable()
        if self.fd >= 0:
            self.keep_rest(None)

    def can_write_eof(self):
        """Yes."""
        return True

    def write_eof(self):
        """End our side behind what was written."""
        if not self.has_eof and self.fd >= 0:
            self.has_eof = True
            if not self.backlog_bytes:
                shutdown(self.fd, SHUT_WR)

    # The end.

    def is_closing(self):
        """Whether it is closed, or will be."""
        return self.is_shut

    def close(self):
        """Read no more, and close behind what was written."""
        if not self.is_shut:
            self.is_shut = True
            if self.backlog_bytes:
                self.want()
            else:
                self.finish(None)

    def abort(self):
        """Close; what was not sent is lost."""
        self.finish(None)

    # Steps.

    cdef ssize_t send_now(self, const char *data, size_t length) except -2:
        """Return how much of it the socket takes; nothing if something waits already."""
        cdef ssize_t sent
        if self.backlog_bytes or self.fd < 0 or not length:
            return 0
        sent = send(self.fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent < 0:
            if errno != EAGAIN and errno != EINTR:
                self.finish(failure())
            return 0
        return sent

    cdef int keep_rest(self, object rest) except -1:
        """Let bytes wait, or just look whether too many do; None: nothing comes to it."""
        if rest is not None:
            if self.backlog is None:
                self.backlog = deque()
            self.backlog.append(rest)
            self.backlog_bytes += len(rest)
        self.want()
        if self.backlog_bytes > self.high and not self.is_held:
            self.is_held = True
            self.protocol.pause_writing()
        return 0

    cdef int want(self) except -1:
        """Have the poller watch for what is waited for."""
        cdef unsigned int wanted = 0
        if self.fd < 0:
            return 0
        if not self.is_paused and not self.is_ended and not self.is_shut:
            wanted |= EPOLLIN
        if self.backlog_bytes:
            wanted |= EPOLLOUT
        if wanted == self.wanted:
            return 0
        try:
            self.poller.watch(self, wanted)
        except OSError as error:
            self.finish(error)  # whoever pauses or writes need not expect that
        return 0

    cdef int on_events(self, unsigned int events) except -1:
        """The socket is ready; an error is found by whoever waits for anything."""
        if events & (EPOLLOUT | EPOLLERR | EPOLLHUP) and self.wanted & EPOLLOUT:
            self.on_writable()
            self.want()
            if self.is_held and self.backlog_bytes <= self.low and self.fd >= 0:
                self.is_held = False
                self.protocol.resume_writing()
        if events & (EPOLLIN | EPOLLERR | EPOLLHUP) and self.wanted & EPOLLIN:
            self.poller.reads(self)
        return 0

    cdef int on_writable(self) except -1:
        """Send of the backlog what the socket takes."""
        cdef iovec[MOST_PARTS] parts
        cdef Py_buffer[MOST_PARTS] buffers
        cdef msghdr message
        cdef ssize_t sent
        cdef int count = 0, at
        cdef int problem
        if not self.backlog_bytes:
            return 0
        for view in self.backlog:
            if count == MOST_PARTS:
                break
            PyObject_GetBuffer(view, &buffers[count], PyBUF_SIMPLE)
            parts[count].iov_base, parts[count].iov_len = buffers[count].buf, buffers[count].len
            count += 1
        memset(&message, 0, sizeof(msghdr))
        message.msg_iov, message.msg_iovlen = parts, count
        sent = sendmsg(self.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
        problem = errno
        for at in range(count):
            PyBuffer_Release(&buffers[at])
        if sent >= 0:
            return self.drop(sent)
        if problem != EAGAIN and problem != EINTR:
            self.finish(OSError(problem, strerror(problem)))
        return 0

    cdef int drop(self, ssize_t sent) except -1:
        """Let go of what was sent of the backlog; with the last of it goes what was waiting for that."""
        cdef ssize_t size
        self.backlog_bytes -= sent
        while sent:
            view = self.backlog.popleft()
            size = len(view)
            if size > sent:
                self.backlog.appendleft(view[sent:])
                break
            sent -= size
        if not self.backlog_bytes:
            if self.is_shut:
                self.finish(None)
            elif self.has_eof:
                shutdown(self.fd, SHUT_WR)
        return 0

    cdef int on_end(self) except -1:
        """The peer ended its side: so do we, unless the protocol wants to go on writing."""
        self.is_ended = True
        if self.protocol.eof_received():
            self.want()
        else:
            self.close()
        return 0

    cdef int finish(self, object error) except -1:
        """Close now; the protocol hears of it in a later turn."""
        if self.fd < 0:
            return 0
        self.is_shut = True
        self.poller.let_go(self)
        close(self.fd)
        self.fd, self.wanted = -1, 0
        self.backlog, self.backlog_bytes = None, 0
        self.poller.loop.call_soon(self.lost, error)
        return 0

    def lost(self, error):
        """Tell the protocol that the connection is closed; the loop's word."""
        protocol, self.protocol, self.reader = self.protocol, None, None
        protocol.connection_lost(error)


cdef class SocketOptions:
    """What may be done to a transport's socket beside it: as asyncio's TransportSocket, but less."""

    cdef SocketTransport transport

    def __init__(self, SocketTransport transport):
        self.transport = transport

    @property
    def family(self):
        """AF_INET, AF_INET6 or AF_UNIX."""
        return self.getsockopt(SOL_SOCKET, SO_DOMAIN)

    def fileno(self):
        """Return its descriptor, -1 once it is closed."""
        return self.transport.fd

    def getsockopt(self, int level, int name):
        """Return an option that is a number."""
        cdef int value = 0
        cdef socklen_t length = sizeof(int)
        if getsockopt(self.transport.fd, level, name, &value, &length) < 0:
            raise failure()
        return value

    def setsockopt(self, int level, int name, bytes value not None):
        """Set an option."""
        if setsockopt(self.transport.fd, level, name, <const char *>value, len(value)) < 0:
            raise failure()
