# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False, embedsignature=False
"""The compiled side of relays: what `proxy.relay` has learned is carried from socket to socket. The argument stands there.

In parts, each knowing only those before it: heads (a request's and a response's, read strictly and written afresh), plan
(what was decided), exchange (what stands for one under way), and here what one worker does with them.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memchr, memcmp, memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from accel.origin.attempt cimport Begun
from accel.origin.fetch cimport Origin
from accel.origin.wire cimport Passer, Wire
from accel.proxy._hot cimport ClientEnd
from accel.proxy.flights cimport Flights
from accel.stats._ring cimport RingWriter, accel_exchange, accel_text
from accel.store._shared cimport Glance, has_record, put_record

from asyncio import get_running_loop

from accel.errors import ClosedUnanswered, ResponseTruncated
from accel.http.fields import format_date, http_date
from accel.proxy.origin_view import VIA_LINE
from accel.proxy.telling import key_hash
from accel.stats import histograms as scale
from accel.stats.counters import SITE_WORDS, index
from accel.stats.records import OUTCOMES, REASONS
from accel.store import numbers

include "_write.pxi"
include "_send.pxi"
include "_measure.pxi"
include "_scan.pxi"
include "_names.pxi"
include "_heads.pxi"

cdef extern from *:
    """
    #define ACCEL_LOAD(at) __atomic_load_n((at), __ATOMIC_SEQ_CST)
    """
    uint64_t ACCEL_LOAD(const uint64_t *at) nogil

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length) except NULL

HELD_S = 0.02
"""So long the head of a short response that is stored waits for its end."""

cdef enum:
    MOST_JUDGED = 64  # kinds of responses that are told apart under one plan
    ENTRY_BYTES = 512  # of signatures for each plan, on the average
    MOST_LOOKUPS = 1024

cdef bytes OUR_VIA = VIA_LINE
cdef int SEQUENCE = numbers.SEQUENCE, WORLD = numbers.WORLD, EDITION = numbers.EDITION
cdef int STORED = index("stored")
cdef int BYTES_IN = index("client_bytes_in"), BYTES_OUT = index("client_bytes_out"), FETCHES = index("fetches")


include "_plan.pxi"
include "_exchange.pxi"
include "_relay_telling.pxi"


cdef class Carrier:
    """What one worker relays; `proxy.relay.Relays` fills it."""

    cdef public bint is_on  # off: every request takes the general path
    cdef object owner, wall, store
    cdef RingWriter log
    cdef dict young, old
    cdef dict lookups  # by what a signature has beside the target
    cdef bytes last_date  # of a response, and what that is
    cdef double last_date_at
    cdef bytes dated  # the present second, and which that is
    cdef double dated_at
    cdef object memory  # keeps what the next three point to
    cdef const uint64_t *words
    cdef uint64_t *counters
    cdef uint64_t *histograms
    cdef Bounds bounds
    cdef int entries
    cdef size_t young_bytes
    cdef Names request_names, response_names
    cdef Head request
    cdef ResponseHead response
    cdef char[OUT_BYTES] out

    def __init__(self, owner, store, words, counters, histograms, wall, int entries):
        """`owner` is who decides (`proxy.relay.Relays`); the rest as `_hot.Replayer` has it."""
        self.store, self.last_date = store, b""
        self.owner, self.wall, self.entries, self.is_on = owner, wall, entries // 2, True
        self.memory = words, counters, histograms
        self.words, self.counters = <const uint64_t *>address(words), <uint64_t *>address(counters)
        self.histograms = <uint64_t *>address(histograms)
        self.request_names, self.response_names = request_names(), response_names()
        self.forget()

    def __len__(self):
        return len(self.young) + len(self.old)

    def forget(self):
        """Forget everything: what decides has changed."""
        self.young, self.old, self.lookups, self.young_bytes = {}, {}, {}, 0

    def bound(self, limits):
        """Understand no head that the general path would refuse; `limits` is `config.Limits`."""
        self.bounds.head_bytes, self.bounds.target_bytes = limits.head_bytes, limits.target_bytes
        self.bounds.field_bytes, self.bounds.fields = limits.field_bytes, min(limits.fields, MOST_LINES)

    def tell_to(self, RingWriter log):
        """Log what is relayed; None: nothing."""
        self.log = log

    def world(self):
        """Return the number that moves with each invalidation."""
        return ACCEL_LOAD(self.words + WORLD)

    def keep(self, bytes signature not None, Plan plan not None):
        """Relay requests with `signature` from now on."""
        if len(self.young) >= self.entries or self.young_bytes >= <size_t>self.entries * ENTRY_BYTES:
            self.young, self.old, self.young_bytes = {}, self.young, 0
        self.young[signature] = plan
        self.young_bytes += PyBytes_GET_SIZE(signature)

    def keep_lookup(self, bytes signature not None, Plan plan not None):
        """Fetch for the cache whatever is not stored, for requests whose signature differs in nothing but the target."""
        if len(self.lookups) >= MOST_LOOKUPS:
            self.lookups = {}
        self.lookups[without_target(signature)] = plan

    cdef Plan known(self, bytes signature):
        cdef Plan found = self.young.get(signature)
        if found is None:
            found = self.old.pop(signature, None)
            if found is not None:
                self.keep(signature, found)
        return found

    # The request.

    def take(self, connection, bytes data not None, bytes signature not None):
        """Relay the one request that `data` is; False: it is the general path's."""
        cdef Plan plan
        cdef Relay relay
        cdef double now
        if not self.is_on or not self.young and not self.old and not self.lookups:
            return False
        plan = self.known(signature)
        if plan is None:
            plan = self.lookups.get(without_target(signature))
        if plan is None or not scan(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), &self.bounds, &self.request):
            return False
        if self.request.size != <size_t>PyBytes_GET_SIZE(data):
            return False
        now = self.now()
        if not plan.stands(self.words, now):
            self.young.pop(signature, None)
            return False
        relay = Relay.__new__(Relay)
        relay.plan, relay.carrier, relay.connection, relay.data = plan, self, connection, data
        relay.started_at, relay.is_head = now, self.request.is_head
        if not note_browser(&self.request, &relay.target, &relay.user_agent, &relay.referer):
            return False
        return self.is_begun(relay)

    cdef bint is_begun(self, Relay relay) except -1:
        """Send the request to a backend; False, and nothing was done: the general path must."""
        cdef Plan plan = relay.plan
        cdef size_t size = self.compose(plan, relay.connection.client_ip)
        if not size or plan.is_lookup and not self.is_claimed(relay):
            return False
        relay.number = ACCEL_LOAD(self.words + SEQUENCE)
        relay.begun = plan.origin.lend()
        if relay.begun is None:
            relay.release()
            return False
        relay.conn = relay.begun.conn
        self.counters[BYTES_IN] += PyBytes_GET_SIZE(relay.data)
        if self.log is not None:
            relay.id = self.log.begin()
        relay.connection.take_up(relay)
        if relay.conn is None:
            self.owner.hand_over(relay, b"")
        else:
            self.counters[FETCHES] += 1
            relay.conn.carry(relay, PyBytes_FromStringAndSize(self.out, size))
        return True

    cdef bint is_claimed(self, Relay relay) except -1:
        """Whether nothing is stored for the request and nobody fetches it: then the fetch is ours, on all workers."""
        cdef bytes key = relay.plan.host + b"\0" + relay.target.at[: relay.target.length]
        cdef Flights flights = relay.plan.service.flights
        if has_record(self.store, key) or flights.is_flying(key):
            return False
        claim = relay.plan.service.claim(key)
        if claim is not None and not claim.leads:
            return False
        relay.key, relay.claim = key, claim
        if has_record(self.store, key):  # stored since we looked, before the claim was ours
            relay.release()
            return False
        relay.world, relay.edition = ACCEL_LOAD(self.words + WORLD), ACCEL_LOAD(self.words + EDITION)
        flights.add(key, relay)
        return True

    cdef size_t compose(self, Plan plan, str client_ip) except? 0:
        """Write the head that the origin gets; return its bytes, 0: this request is not plain."""
        cdef bytes shown = client_ip.encode() if plan.shows_client else b""
        cdef size_t most = self.request.size + len(plan.before) + len(plan.after) + len(shown) + 128
        cdef char *at = self.out
        if most > OUT_BYTES:
            return 0
        at = put_bytes(at, b"HEAD " if self.request.is_head else b"GET ")
        at = put_literal(at, self.request.target.at, self.request.target.length)
        at = put_bytes(at, plan.before)
        at = put_own_lines(at, &self.request, self.request_names)
        if at == NULL:
            return 0
        at = put_bytes(at, OUR_VIA)
        if shown:
            at = put_literal(at, b"X-Forwarded-For: ", 17)
            at = put_bytes(at, shown)
            at = put_literal(at, b"\r\n", 2)
        return put_bytes(at, plan.after) - self.out

    # The response.

    cdef bint answer(self, Relay relay, bytes data) except -1:
        """Send the response that `data` begins with, as far as it is here; False, and nothing was done: it is not plain."""
        cdef const char *start = PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data)
        cdef size_t have
        cdef ResponseHead *head = &self.response
        cdef char *at
        cdef bint is_bodiless
        if not scan_response(start, size, &self.bounds, self.response_names, head):
            return False
        have = size - head.size
        is_bodiless = relay.is_head or head.status == 304 or head.status == 204
        if head.status == 204 and head.length.at != NULL or not is_bodiless and head.length.at == NULL:
            return False
        relay.length = 0 if is_bodiless else number_of(&head.length)
        if size + 1024 > OUT_BYTES or relay.length > WINDOW_BYTES or have > relay.length:
            return False
        keeping = None if relay.plan.judged is None else self.judge(relay.plan)
        if keeping is False or relay.plan.is_lookup and is_bodiless:
            return False
        if relay.plan.is_lookup and have < relay.length:
            relay.gather(data)
            return True
        if relay.plan.is_lookup and not self.is_stored(relay, <Keeping>keeping, data):
            return False
        relay.plan.origin.note_success(relay.begun.backend)
        at = self.put_head(relay, is_bodiless)
        at = put_literal(at, start + head.size, have)
        relay.status, relay.may_reuse, relay.body_bytes = head.status, not head.closes, have
        relay.head_sent, relay.first_byte_at = True, self.now()
        if have == relay.length:
            self.send(relay.connection, at - self.out)
            relay.complete = True
        else:
            relay.connection.write_soon(PyBytes_FromStringAndSize(self.out, at - self.out))
            relay.conn.await_more(relay)
        return True

    cdef judge(self, Plan plan):
        """Return what becomes of a response like this, by the fields that say whether it may be stored; False: not ours."""
        cdef char *end = put_number(self.out, self.response.status)
        cdef Line *line
        cdef bytes kind
        cdef int at
        for at in range(self.response.count):
            line = &self.response.lines[at]
            if self.response.kinds[at] & (JUDGED | NOTED):
                end = put_name(put_literal(end, b"\n", 1), &line.name)
            if self.response.kinds[at] & JUDGED:
                end = put_literal(put_literal(end, b":", 1), line.value.at, line.value.length)
        kind = PyBytes_FromStringAndSize(self.out, end - self.out)
        verdict = plan.judged.get(kind)
        if verdict is None:
            decide = self.owner.keeping if plan.is_lookup else self.owner.may_pass_on
            verdict = decide(plan, self.response.status, lines_of(&self.response))
            if len(plan.judged) < MOST_JUDGED:
                plan.judged[kind] = verdict
        return verdict

    cdef bint is_stored(self, Relay relay, Keeping keeping, bytes data) except -1:
        """Store a whole response; False, and nothing was done: an invalidation came, or it needs more thought."""
        cdef ResponseHead *head = &self.response
        cdef StoredHead form
        cdef double now = self.now(), age_s = now - relay.started_at
        cdef double date_at = floor(now)
        cdef bytes added = b""
        cdef const char *start = PyBytes_AS_STRING(data)
        cdef char *end
        if head.date.at == NULL:
            added = self.date(now)
        elif not self.is_dated(&head.date, &date_at):
            return False
        if ACCEL_LOAD(self.words + WORLD) != relay.world or ACCEL_LOAD(self.words + EDITION) != relay.edition:
            return False
        if relay.length > relay.plan.most_bytes or head.count >= MOST_LINES - 1:
            return False
        if has_record(self.store, relay.key):
            return False  # from a request that waits for nobody: it may be a list of variants
        age_s = max(0.0, max(age_s, floor(now) - date_at))
        if age_s >= keeping.lifetime_s:
            return False
        memcpy(&form, PyBytes_AS_STRING(keeping.form), sizeof(StoredHead))
        form.number, form.request_at, form.response_at, form.initial_age_s = relay.number, relay.started_at, now, age_s
        end = put_meta(self.out, head, &form, added)
        if not put_record(self.store, relay.key, self.out, end - self.out, start + head.size, relay.length):
            return False  # no room
        self.counters[STORED] += 1
        relay.service.cache.evidence.note(relay.key, head.status, True)
        relay.release()
        relay.age_s, relay.ttl_s = age_s, keeping.lifetime_s - age_s
        return True

    cdef bint is_dated(self, const Text *date, double *at) except -1:
        """Read a Date; False if it is none."""
        if PyBytes_GET_SIZE(self.last_date) != <Py_ssize_t>date.length or memcmp(
            PyBytes_AS_STRING(self.last_date), date.at, date.length
        ):
            read = http_date(date.at[: date.length])
            if read is None:
                return False
            self.last_date, self.last_date_at = date.at[: date.length], floor(<double>read)
        at[0] = self.last_date_at
        return True

    cdef char *put_head(self, Relay relay, bint is_bodiless) except NULL:
        """Write the head that the client gets, as `deliver.send_passed` does, or `send_fill` of what is stored."""
        cdef ResponseHead *head = &self.response
        cdef char *at = put_literal(self.out, b"HTTP/1.1 ", 9)
        at = put_number(at, head.status)
        at = put_literal(at, b" ", 1)
        at = put_literal(at, head.reason.at, head.reason.length)
        at = put_literal(at, b"\r\n", 2)
        at = put_passed_lines(at, head)
        if head.date.at == NULL:
            at = put_literal(at, b"Date: ", 6)
            at = put_bytes(at, self.date(self.now()))
            at = put_literal(at, b"\r\n", 2)
        at = put_bytes(at, OUR_VIA)
        if not relay.plan.is_lookup:
            at = self.put_status(at, relay)
        if head.length.at != NULL:
            at = put_literal(at, b"Content-Length: ", 16)
            if is_bodiless:
                at = put_literal(at, head.length.at, head.length.length)
            else:
                at = put_number(at, relay.length)
            at = put_literal(at, b"\r\n", 2)
        if relay.plan.is_lookup:
            if relay.age_s >= 1:
                at = put_number(put_literal(at, b"Age: ", 5), <int64_t>relay.age_s)
                at = put_literal(at, b"\r\n", 2)
            at = self.put_status(at, relay)
        relay.keeps = not relay.connection.is_stopping
        if not relay.keeps:
            at = put_literal(at, b"Connection: close\r\n", 19)
        return put_literal(at, b"\r\n", 2)

    cdef char *put_status(self, char *at, Relay relay) except NULL:
        """Write Cache-Status."""
        at = put_number(put_bytes(at, relay.plan.member), self.response.status)
        if relay.plan.is_lookup:
            at = put_number(put_literal(at, b"; ttl=", 6), <int64_t>max(0.0, floor(relay.ttl_s)))
            at = put_literal(at, b"; stored", 8)
        return put_literal(at, b"\r\n", 2)

    cdef send(self, ClientEnd connection, size_t size):
        """Send what was written: straight to the socket, and what it does not take by the transport."""
        cdef ssize_t sent = 0
        cdef int fd = connection.open_fd()
        if fd >= 0 and not connection.holds():
            sent = max(0, send(fd, self.out, size, MSG_DONTWAIT | MSG_NOSIGNAL))
            self.counters[BYTES_OUT] += sent
        if <size_t>sent < size:
            connection.write(PyBytes_FromStringAndSize(self.out + sent, size - sent))

    # Clocks.

    cdef bytes date(self, double now):
        """Return a time as a Date value."""
        if floor(now) != self.dated_at:
            self.dated, self.dated_at = format_date(now), floor(now)
        return self.dated

    cdef inline double now(self):
        return self.wall() if self.wall is not None else seconds(CLOCK_REALTIME)
