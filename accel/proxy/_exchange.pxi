# One exchange under way: what stands for it on both its connections.

@cython.final
cdef class Relay(Passer):
    """One exchange under way. Stands for an `Exchange` on its connection, and passes on what comes over a `Wire`."""

    cdef readonly Plan plan
    cdef readonly object connection
    cdef readonly Begun begun
    cdef readonly Wire conn
    cdef readonly bytes data  # the request as it came
    cdef readonly double started_at, first_byte_at
    cdef readonly bint head_sent, is_over
    cdef readonly int status
    cdef readonly uint64_t body_bytes, id
    cdef Carrier carrier
    cdef Text target, user_agent, referer  # in `data`
    cdef uint64_t length
    cdef readonly bint is_head
    cdef bint keeps  # the client's connection
    cdef readonly bytes key  # of a fetch for the cache; else None
    cdef readonly object claim
    cdef readonly uint64_t number  # the invalidation number read before it began
    cdef uint64_t world, edition
    cdef double age_s, ttl_s  # of what was stored
    cdef readonly bytes gathered  # of a response that is stored, all that came while its end has not; else None
    cdef object timer  # ends the wait for that

    # What its client's connection asks.

    @property
    def service(self):
        """The configuration that it began under."""
        return self.plan.service

    @property
    def outcome(self):
        """As an exchange's."""
        return self.plan.outcome

    @property
    def client_ip(self):
        """The client's address."""
        return self.connection.client_ip

    @property
    def backend(self):
        """Which backend was asked."""
        return self.begun.backend.label

    @property
    def request(self):
        """What was asked, read again."""
        return self.carrier.owner.reread(self)

    @property
    def body(self):
        """None: a relayed request has no body."""
        return None

    # What a fetch for the cache is asked by those that want the same.

    @property
    def entry(self):
        """None: its head has not come."""
        return None

    def shared(self):
        """Return the `Fill` that goes on with it: somebody else wants what comes."""
        return self.carrier.owner.fill_of(self, self.gathered or b"")

    def client_gone(self):
        """The connection is lost."""
        if not self.is_over:
            self.carrier.owner.client_gone(self)

    # What the origin's connection tells.

    @property
    def has_head(self):
        """Whether the response's head has come."""
        return self.head_sent or self.gathered is not None

    cdef feed(self, bytes data):
        """Pass on what came; a response that is not plain is left to the general path, whole."""
        self.started = True
        if self.gathered is not None:
            data = self.gathered + data
        if self.head_sent:
            self.pass_on(data)
        elif not self.carrier.answer(self, data):
            self.carrier.owner.hand_over(self, data)

    def feed_eof(self):
        """The origin closed: raises what that means."""
        if not self.started:
            raise ClosedUnanswered("connection closed before any answer")
        raise ResponseTruncated("connection closed before the end of the body")

    cdef ended(self):
        """The exchange with the origin is over, well or not."""
        if self.is_over:
            return
        if not self.complete:
            self.carrier.owner.failed(self)
            return
        self.is_over = True
        tell(self.carrier, self)
        self.connection.finished(self, self.keeps)

    def leave(self):
        """Have no more part in it: somebody else ends it. Return the claim of a fetch for the cache, which goes with it."""
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.key is not None:
            (<Flights>self.plan.service.flights).remove(self.key, self)
        claim, self.claim = self.claim, None
        return claim

    def late(self):
        """The end of the response does not come: its client is to have what came."""
        self.timer = None
        self.carrier.owner.hand_over(self, self.gathered)

    cdef gather(self, bytes data):
        """Keep what came, for a moment."""
        if self.timer is None:
            self.timer = get_running_loop().call_later(HELD_S, self.late)
        self.gathered = data
        self.conn.await_more(self)

    cdef release(self):
        """Nobody need wait for it any more."""
        claim = self.leave()
        self.is_over = False
        if claim is not None:
            claim.release()

    cdef pass_on(self, bytes data):
        cdef uint64_t left = self.length - self.body_bytes
        if <uint64_t>PyBytes_GET_SIZE(data) > left:
            self.may_reuse, data = False, data[:left]
        self.body_bytes += PyBytes_GET_SIZE(data)
        self.connection.write(data)
        if self.body_bytes == self.length:
            self.complete = True
        else:
            self.conn.await_more(self)
