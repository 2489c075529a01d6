# A replay's record in the live log: the same facts as `proxy.telling` writes for the general path.

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length) except NULL

cdef int HIT = OUTCOMES.index("hit")


cdef tell(RingWriter log, Head *head, Replay replay, ClientEnd connection, double began_at, double now, double age_s):
    """Write the record of an answer to the request in `head`."""
    cdef accel_exchange one
    cdef str client_ip = connection.client_ip
    cdef bytes user_agent, referer
    cdef Py_ssize_t length
    memset(&one, 0, sizeof(accel_exchange))
    one.at, one.first_byte_s = began_at, now - began_at
    one.total_s, one.age_s, one.ttl_s = one.first_byte_s, age_s, replay.lifetime_s - age_s
    one.body_bytes = replay.length if replay.has_body else 0
    one.status, one.minor, one.outcome = replay.status, 1, HIT
    one.key_hash, one.connection_id = replay.told.key_hash, <uint32_t>connection.id
    one.client.data = PyUnicode_AsUTF8AndSize(client_ip or "-", &length)
    one.client.length = length
    one.method.data = b"HEAD"
    one.method.length = 4
    if not head.is_head:
        one.method.data = b"GET"
        one.method.length = 3
    one.host, one.target = text_of(&replay.told.host), text_of(&head.target)
    one.rule, one.tags = text_of(&replay.told.rule), text_of(&replay.told.tags)
    if not tell_browser(head, &one):
        user_agent, referer = together(head, b"user-agent"), together(head, b"referer")
        one.user_agent.data, one.user_agent.length = PyBytes_AS_STRING(user_agent), PyBytes_GET_SIZE(user_agent)
        one.referer.data, one.referer.length = PyBytes_AS_STRING(referer), PyBytes_GET_SIZE(referer)
    log.put(&one)


cdef bint tell_browser(Head *head, accel_exchange *one) noexcept nogil:
    """Note what the client says of itself; False: it says it in several lines."""
    cdef Line *line
    cdef int at
    for at in range(head.count):
        line = &head.lines[at]
        if is_name(&line.name, b"user-agent", 10):
            if one.user_agent.data != NULL:
                return False
            one.user_agent.data, one.user_agent.length = line.value.at, line.value.length
        elif is_name(&line.name, b"referer", 7):
            if one.referer.data != NULL:
                return False
            one.referer.data, one.referer.length = line.value.at, line.value.length
    return True


cdef bytes together(const Head *head, bytes name):
    """Return the values of all lines of a name as one list (RFC 9110 §5.3)."""
    cdef const Line *line
    cdef int at
    values = []
    for at in range(head.count):
        line = &head.lines[at]
        if is_name(&line.name, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name)):
            values.append(line.value.at[: line.value.length])
    return b", ".join(values)


cdef inline accel_text text_of(const Text *text) noexcept nogil:
    cdef accel_text made
    made.data, made.length = text.at, text.length
    return made
