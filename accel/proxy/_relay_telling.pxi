# What is left of a relay that ended well: its count, its part in the histograms, its record (`proxy.telling`).

cdef int FIRST_BYTE_AT = scale.MEASURES.index("first_byte_us") * scale.HISTOGRAM_WORDS
cdef int TOTAL_AT = scale.MEASURES.index("total_us") * scale.HISTOGRAM_WORDS
cdef int BODY_AT = scale.MEASURES.index("body_bytes") * scale.HISTOGRAM_WORDS
cdef double NAN = float("nan")


cdef inline uint64_t micros(double elapsed_s) noexcept:
    return <uint64_t>(max(0.0, elapsed_s) * 1e6)

cdef inline accel_text text_of(bytes value) noexcept:
    cdef accel_text text
    text.data, text.length = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    return text


cdef tell(Carrier carrier, Relay relay):
    """Count, measure and log an exchange that ended well, as `proxy.telling` does."""
    cdef Plan plan = relay.plan
    cdef accel_exchange one
    cdef Py_ssize_t length
    cdef double now = carrier.now()
    cdef int at = plan.histogram_at
    carrier.counters[plan.counter_at] += 1
    measure(carrier.histograms, at + FIRST_BYTE_AT, micros(relay.first_byte_at - relay.started_at), 1)
    measure(carrier.histograms, at + TOTAL_AT, micros(now - relay.started_at), 1)
    measure(carrier.histograms, at + BODY_AT, relay.body_bytes, 1)
    if carrier.log is None:
        return
    memset(&one, 0, sizeof(accel_exchange))
    one.at, one.first_byte_s, one.total_s = relay.started_at, relay.first_byte_at - relay.started_at, now - relay.started_at
    one.origin_s, one.age_s, one.ttl_s = one.first_byte_s, NAN, NAN
    one.key_hash, one.exchange_id, one.connection_id = plan.key_hash, relay.id, relay.connection.id
    if relay.key is not None:
        one.key_hash, one.age_s, one.ttl_s = key_hash(relay.key), relay.age_s, relay.ttl_s
    one.body_bytes, one.status, one.minor = relay.body_bytes, relay.status, 1
    one.outcome, one.reason = plan.outcome_number, plan.reason_number
    one.client.data = PyUnicode_AsUTF8AndSize(relay.connection.client_ip or "-", &length)
    one.client.length = length
    one.method.data, one.method.length = (b"HEAD", 4) if relay.is_head else (b"GET", 3)
    one.host, one.rule = text_of(plan.host), text_of(plan.rule)
    one.target.data, one.target.length = relay.target.at, relay.target.length
    one.user_agent.data, one.user_agent.length = relay.user_agent.at, relay.user_agent.length
    one.referer.data, one.referer.length = relay.referer.at, relay.referer.length
    one.backend.data = PyUnicode_AsUTF8AndSize(relay.begun.backend.label, &length)
    one.backend.length = length
    carrier.log.put(&one)
