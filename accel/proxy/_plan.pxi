# What was decided: where requests go, and how what they bring is stored.

@cython.final
cdef class Plan:
    """Where requests with one signature go, and what is done with what comes back."""

    cdef readonly object service, policy, outcome, reason
    cdef readonly Origin origin
    cdef bytes before, after, member, host, rule
    cdef bint shows_client
    cdef Glance mark
    cdef double until_at
    cdef uint64_t world
    cdef dict judged  # by what forbids to store a response: for a mark whether it does, for a look-up how it is kept
    cdef readonly bint is_lookup  # a fetch for the cache
    cdef uint64_t most_bytes  # of a body that is stored
    cdef uint64_t key_hash
    cdef int counter_at, histogram_at, outcome_number, reason_number

    def __init__(self, exchange, origin, bytes before not None, bytes after not None, bint shows_client):
        """As `exchange`, which has ended: its service, rules, outcome and reason.

        `before` and `after` are what stands before and behind the client's own lines in the head that `origin` gets.
        """
        self.service, self.policy, self.origin = exchange.service, exchange.asking.policy, origin
        self.outcome, self.reason = exchange.outcome, exchange.reason
        self.before, self.after, self.shows_client = before, after, shows_client
        self.member = b"Cache-Status: accel; fwd=%b; fwd-status=" % self.reason.value
        self.host, self.rule = exchange.request.host, exchange.rule.encode(errors="replace")
        self.counter_at = exchange.site * SITE_WORDS + self.outcome.counter
        self.histogram_at = self.outcome.histogram * scale.KIND_WORDS
        self.outcome_number = OUTCOMES.index(self.outcome.word)
        self.reason_number = REASONS.index(self.reason.value.decode())

    def rest_on(self, Glance mark not None, double until_at, uint64_t world, uint64_t key_hash):
        """Let it stand only while a hit-for-miss mark does, and nothing was invalidated since `world` was read.

        Responses are then judged, each kind once: see `Relays.may_pass_on`.
        """
        self.mark, self.until_at, self.world, self.key_hash, self.judged = mark, until_at, world, key_hash, {}

    def look_up(self, most_bytes):
        """Let it be for whatever is not stored: responses are stored, each kind as `Relays.keeping` says."""
        self.is_lookup, self.most_bytes, self.judged = True, most_bytes, {}

    cdef bint stands(self, const uint64_t *words, double now) noexcept:
        if self.mark is None:
            return True
        if now >= self.until_at or ACCEL_LOAD(words + WORLD) != self.world or not self.mark.take():
            return False
        self.mark.leave()
        return True


@cython.final
cdef class Keeping:
    """How responses of one kind are stored."""

    cdef bytes form  # the fixed part of a record's meta, to be filled in
    cdef double lifetime_s

    def __init__(self, bytes form not None, double lifetime_s):
        """`form`: an encoded `caching.stored.Stored` without reason, fields and tags."""
        if len(form) != sizeof(StoredHead):
            raise ValueError("a stored response has another form")
        self.form, self.lifetime_s = form, lifetime_s
