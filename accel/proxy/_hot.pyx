# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=False
"""The compiled side of the hot path: what `proxy.hot` has learned is given again. The argument stands there.

Cut in parts, each knowing only those before it: client_end (whose connection it is), scan (a head, fully understood or not at all), fields (what matters of
it: the signature), replay (a decided answer and what must still hold), memory (all of them), telling (its record in the
log), and here what one worker does with them.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from accel.net._sockets cimport SocketReader, SocketTransport
from accel.stats._ring cimport RingWriter, accel_exchange, accel_text
from accel.store._shared cimport Glance

from os import urandom

from accel.proxy.phase import Phase
from accel.stats import histograms as scale
from accel.stats.counters import index
from accel.stats.records import OUTCOMES
from accel.store import numbers

include "_client_end.pxi"
include "_scan.pxi"
include "_names.pxi"
include "_fields.pxi"
include "_write.pxi"
include "_send.pxi"
include "_measure.pxi"
include "_replay.pxi"
include "_memory.pxi"
include "_telling.pxi"

cdef extern from *:
    """
    #include <time.h>
    #ifdef CLOCK_MONOTONIC_COARSE
    #define ACCEL_CLOCK_OF_TICKS CLOCK_MONOTONIC_COARSE
    #else
    #define ACCEL_CLOCK_OF_TICKS CLOCK_MONOTONIC
    #endif
    """
    int CLOCK_OF_TICKS "ACCEL_CLOCK_OF_TICKS"  # cheaper, and enough for limits of seconds

cdef enum:
    OUT_BYTES = 64 * 1024
    COPIED_BYTES = 8 * 1024  # longer bodies go out from where they lie
    MOST_HOSTS = 1024  # Host values whose table is known: a name has as many as it has spellings
    ENTRY_BYTES = 1024  # for each entry, on the average
    NOTED_EVERY_S = 30  # the general path's books order variants and tell an operator: neither is in a hurry

cdef int WORLD = numbers.WORLD, EDITION = numbers.EDITION, ALL_HARD = numbers.ALL_HARD, ALL_SOFT = numbers.ALL_SOFT
cdef int HITS = index("hits"), NOT_MODIFIED = index("not_modified")
cdef int BYTES_IN = index("client_bytes_in"), BYTES_OUT = index("client_bytes_out")

cdef int HIT_AT = scale.KINDS.index("hit") * scale.KIND_WORDS
cdef int FIRST_BYTE_AT = HIT_AT + scale.MEASURES.index("first_byte_us") * scale.HISTOGRAM_WORDS
cdef int TOTAL_AT = HIT_AT + scale.MEASURES.index("total_us") * scale.HISTOGRAM_WORDS
cdef int BODY_AT = HIT_AT + scale.MEASURES.index("body_bytes") * scale.HISTOGRAM_WORDS

NEW_HOST = b"?"
"""Stands for the signature of a request whose host is not known yet."""


cdef object IDLE = Phase.IDLE


cdef class Replayer(SocketReader):
    """What one worker has decided and may give again; `proxy.hot.Hot` fills it."""

    cdef public bint is_on  # off: every request takes the general path
    cdef readonly bytes unknown  # the signature of the first request that it left; None: it was not understood
    cdef object wall, mono  # clocks, s; None: the machine's
    cdef readonly RingWriter log  # None: nothing is logged
    cdef dict tables
    cdef Memory known
    cdef object memory  # keeps what the next two point to
    cdef const uint64_t *words
    cdef uint64_t *counters
    cdef uint64_t *histograms
    cdef uint64_t replays  # of the read under way
    cdef double ended_at  # when its last answer was ready
    cdef Bounds bounds
    cdef uint64_t request_limit
    cdef bint is_last  # the request under way closes its connection
    cdef bint is_blocked  # the socket did not take all: the transport has the rest
    cdef object last_host
    cdef FieldTable last_table
    cdef size_t filled
    cdef Head head
    cdef Signature signature
    cdef char[OUT_BYTES] out

    def __init__(self, words, counters, wall, mono, int entries, histograms=None):
        """`words`: the table of `store.numbers`; `counters`, `histograms`: this worker's rows; None: none is kept.

        Remember `entries` answers at most, of ENTRY_BYTES on the average.
        """
        histograms = scale.private_row() if histograms is None else histograms
        self.memory = words, counters, histograms
        self.histograms = <uint64_t *>address(histograms)
        self.words, self.counters = <const uint64_t *>address(words), <uint64_t *>address(counters)
        self.wall, self.mono, self.is_on = wall, mono, True
        self.known = Memory(entries, <size_t>entries * ENTRY_BYTES)
        self.forget()

    def forget(self):
        """Forget everything: what decides has changed."""
        self.known.clear()
        self.tables = {}
        self.last_host = self.last_table = None

    def bound(self, limits):
        """Understand no head that the general path would refuse; `limits` is `config.Limits`."""
        self.bounds.head_bytes, self.bounds.target_bytes = limits.head_bytes, limits.target_bytes
        self.bounds.field_bytes, self.bounds.fields = limits.field_bytes, min(limits.fields, MOST_LINES)
        self.request_limit = limits.requests_per_connection or 0

    def tell(self, RingWriter log):
        """Log what is replayed; None: nothing."""
        self.log = log

    def govern(self, bytes authority not None, FieldTable table):
        """Sign requests whose Host is exactly `authority` by `table`; None: they are the general path's."""
        if len(self.tables) >= MOST_HOSTS:
            self.tables.clear()
        self.tables[authority] = table
        self.last_host = self.last_table = None

    def keep(self, bytes signature not None, Glance glance not None, Glance listed, bytes head not None, entry,
             bint is_not_modified, tuple told not None, note):
        """Give this answer, made of `entry` (`covering.CoveredResponse`), to requests with `signature` from now on.

        Raises ValueError for more than there is room for. The rest is as in `Replay`.
        """
        cdef Replay made = Replay.__new__(Replay)
        if len(entry.cells) > MOST_CELLS or len(head) > OUT_BYTES // 2:
            raise ValueError("too many tags, or too long a head")
        made.store, made.slot, made.value, made.number = glance.store, glance.slot, glance.value, glance.number
        made.record, made.body, made.length, made.is_whole = glance.record, glance.body, glance.length, glance.is_whole
        made.listed, made.note = listed, note
        made.initial_age_s, made.response_at = entry.stored.initial_age_s, entry.stored.response_at
        made.lifetime_s = entry.stored.terms.lifetime_s
        made.covered_from, made.world, made.edition = entry.number, entry.seen, entry.edition
        made.cell_count = len(entry.cells)
        for at, cell in enumerate(entry.cells):
            made.cells[<int>at] = cell
        made.is_not_modified = is_not_modified
        host, rule, tags, made.told.key_hash = told
        made.take_texts(signature, head, host, rule, tags)
        made.status = 304 if is_not_modified else entry.stored.status
        made.has_body = signature[:1] == b"G" and not is_not_modified
        made.noted_at = self.now()
        self.known.keep(made)

    def __len__(self):
        return self.known.count

    @property
    def hosts(self):
        """How many values of Host are known."""
        return len(self.tables)

    # A read's worth of requests.

    cdef int received(self, SocketTransport transport, const char *data, size_t length) except -1:
        """Answer what a client's socket has, from where it was read to; its connection gets what is left."""
        cdef ClientEnd connection = transport.protocol
        cdef size_t taken
        if connection.phase is not IDLE:
            connection.receive(PyBytes_FromStringAndSize(data, length))
            return 0
        taken = self.replay(connection, data, length)
        if taken < length:
            connection.left_over(PyBytes_FromStringAndSize(data + taken, length - taken), self.unknown)
        return 0

    def answer(self, ClientEnd connection not None, bytes data not None):
        """Answer the requests that `data` begins with, as long as each is a replay; return the rest.

        None: there is no rest. A connection that cannot simply go on is told (`after_replay`).
        """
        cdef size_t length = PyBytes_GET_SIZE(data)
        cdef size_t taken = self.replay(connection, PyBytes_AS_STRING(data), length)
        if not taken:
            return data
        return None if taken == length else data[taken:]

    cdef size_t replay(self, ClientEnd connection, const char *start, size_t length) except? 0:
        """Do that; return how many bytes were taken."""
        cdef size_t taken = 0
        cdef double now
        cdef bint goes_on = True
        self.unknown, self.is_last, self.is_blocked, self.filled = None, False, False, 0
        if not self.is_on or connection.holds():
            return 0
        now = self.ended_at = self.now()
        self.replays = 0
        while goes_on and not self.is_blocked and taken < length:
            if not scan(start + taken, length - taken, &self.bounds, &self.head):
                break
            goes_on = self.replayed(connection, now)
            if self.unknown is None:
                taken += self.head.size
                goes_on = goes_on and not self.is_last
        if not taken:
            return 0
        if self.is_last:
            taken = length  # what comes behind is not read as a request (RFC 9112 §9.6)
        self.counters[BYTES_IN] += taken
        if self.log is None:
            self.ended_at = self.now()
        self.time(max(0.0, self.ended_at - now))
        self.flush(connection)
        connection.since = self.monotonic()
        if self.is_last or self.is_blocked:
            connection.after_replay(self.is_last)
        return taken

    cdef bint replayed(self, ClientEnd connection, double now) except -1:
        """Answer the request in `head`; False: it was not, with `unknown` set, or nothing may follow it at once."""
        cdef bint closes = False
        cdef FieldTable table = self.table()
        cdef Known *place
        cdef Replay replay
        cdef object record = None
        cdef bint is_long
        cdef double age_s
        if table is None:
            self.unknown = NEW_HOST
            return False
        if not table.sign(&self.head, &self.signature, &closes):
            self.unknown = b""
            return False
        if table.keys_client:
            self.sign_client(connection.client_ip)
        if self.signature.size > SIGNATURE_BYTES:
            self.unknown = b""
            return False
        place = self.find()
        if place.replay == NULL:
            return self.is_not_known()
        replay = <Replay>place.replay
        replay.fetch()
        age_s = replay.initial_age_s + max(0.0, now - replay.response_at)
        is_long = replay.has_body and not (replay.is_whole and replay.length <= COPIED_BYTES)
        self.make_room(connection, replay, is_long)
        if not replay.stands(self.words, age_s):
            self.known.drop(self.find())
            return self.is_not_known()
        if is_long and not replay.is_whole:
            record = replay.keep()  # with the pin
            if record is None:
                return self.is_not_known()
        if self.request_limit:
            closes = closes or connection.exchanges + 1 >= self.request_limit
        self.gather(replay, age_s, closes, is_long)
        if is_long:
            self.send_long(connection, replay, record)
        # From here on nothing is pinned but by what the transport holds.
        self.is_last = closes
        if self.request_limit:
            connection.exchanges += 1
        self.count(table, replay, now)
        if self.log is not None:
            self.ended_at = self.now()
            tell(self.log, &self.head, replay, connection, now, self.ended_at, age_s)
        return True

    cdef inline Known *find(self) noexcept:
        """Return the place of the replay for `signature`."""
        cdef uint64_t hash = self.known.hash(self.signature.bytes, self.signature.size)
        return self.known.find(hash, self.signature.bytes, self.signature.size)

    cdef bint is_not_known(self) except -1:
        """Leave the request to the general path, which may learn its signature; False."""
        self.unknown = PyBytes_FromStringAndSize(self.signature.bytes, self.signature.size)
        return False

    cdef inline FieldTable table(self):
        """Return the table of the head's host; most requests name the same one as the last."""
        cdef Text *host = &self.head.host
        if (self.last_host is not None and <size_t>PyBytes_GET_SIZE(self.last_host) == host.length
                and memcmp(PyBytes_AS_STRING(self.last_host), host.at, host.length) == 0):
            return self.last_table
        name = PyBytes_FromStringAndSize(host.at, host.length)
        self.last_table = self.tables.get(name)
        self.last_host = name if self.last_table is not None else None
        return self.last_table

    cdef sign_client(self, str client_ip):
        cdef Text text
        cdef Py_ssize_t length
        text.at = PyUnicode_AsUTF8AndSize(client_ip, &length)  # where the string lies, since it is ASCII
        text.length = length
        put_text(&self.signature, &text)

    cdef inline void count(self, FieldTable table, Replay replay, double now):
        self.counters[table.site_at + HITS] += 1
        self.counters[NOT_MODIFIED] += replay.is_not_modified
        self.replays += 1
        measure(self.histograms, BODY_AT, replay.length if replay.has_body else 0, 1)
        replay.was_used = True
        replay.unnoted += 1
        if now - replay.noted_at >= NOTED_EVERY_S:
            replay.settle()
            replay.noted_at = now

    cdef inline void time(self, double elapsed_s) noexcept:
        """Count how long this read's answers took: all of them as long as the read."""
        cdef uint64_t elapsed_us = <uint64_t>(elapsed_s * 1e6)
        measure(self.histograms, FIRST_BYTE_AT, elapsed_us, self.replays)
        measure(self.histograms, TOTAL_AT, elapsed_us, self.replays)

    cdef make_room(self, ClientEnd connection, Replay replay, bint is_long):
        """Send what is gathered if an answer has no room behind it."""
        cdef size_t more = replay.head_length + TAIL_BYTES
        if replay.has_body and not is_long:
            more += replay.length
        if self.filled + more > OUT_BYTES:
            self.flush(connection)

    cdef void gather(self, Replay replay, double age_s, bint closes, bint is_long) noexcept:
        """Write an answer behind what is gathered, but for a long body, and let its pin go unless that has it."""
        cdef char *at = self.out + self.filled
        at = put_literal(at, replay.text + replay.signature_length, replay.head_length)
        at += replay.tail(at, age_s, closes)
        if replay.has_body and not is_long:
            at = put_literal(at, replay.body, replay.length)
        self.filled = at - self.out
        if not is_long:
            replay.leave()

    cdef send_long(self, ClientEnd connection, Replay replay, record):
        """Send what is gathered, and a body from where it lies: its pin goes with the last buffer.

        A whole body that the socket takes at once leaves no object behind; `record` holds one in pieces.
        """
        cdef size_t sent = 0, gathered = self.filled
        if replay.is_whole:
            sent = self.take_both(connection, replay)
            if sent == gathered + replay.length:
                self.filled = 0
                replay.leave()
                return
            record = replay.keep()
        rest = record.slice(sent - min(sent, gathered), replay.length)
        if sent < gathered:
            rest.insert(0, PyBytes_FromStringAndSize(self.out + sent, gathered - sent))
        self.filled = 0
        self.is_blocked = True
        connection.writelines(rest)

    cdef size_t take_both(self, ClientEnd connection, Replay replay) except? 0:
        """Return how much the socket takes of what is gathered and of the body behind it, in one call."""
        cdef int fd = connection.open_fd()
        cdef iovec[2] parts
        cdef msghdr message
        cdef size_t sent
        if fd < 0 or self.is_blocked:
            return 0
        parts[0].iov_base, parts[0].iov_len = self.out, self.filled
        parts[1].iov_base, parts[1].iov_len = <void *>replay.body, replay.length
        memset(&message, 0, sizeof(msghdr))
        message.msg_iov, message.msg_iovlen = parts, 2
        sent = max(0, sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL))
        self.counters[BYTES_OUT] += sent
        return sent

    cdef flush(self, ClientEnd connection):
        """Send what was gathered: straight to the socket, and what it does not take by the transport."""
        cdef ssize_t sent = 0
        cdef int fd
        if not self.filled:
            return
        fd = connection.open_fd()
        if fd >= 0 and not self.is_blocked:
            sent = max(0, send(fd, self.out, self.filled, MSG_DONTWAIT | MSG_NOSIGNAL))
            self.counters[BYTES_OUT] += sent
        if <size_t>sent < self.filled:
            self.is_blocked = True
            connection.write(PyBytes_FromStringAndSize(self.out + sent, self.filled - sent))
        self.filled = 0

    # Clocks.

    cdef inline double now(self):
        return self.wall() if self.wall is not None else seconds(CLOCK_REALTIME)

    cdef inline double monotonic(self):
        return self.mono() if self.mono is not None else seconds(CLOCK_OF_TICKS)
