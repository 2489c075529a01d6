# A replay's record in the live log: the same facts as `proxy.telling` writes for the general path.

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *length) except NULL

cdef int HIT = OUTCOMES.index("hit")


cdef tell(RingWriter log, Head *head, Replay replay, str client_ip, double began_at, double now, double age_s):
    """Write the record of an answer to the request in `head`."""
    cdef accel_exchange one
    cdef Py_ssize_t length
    memset(&one, 0, sizeof(accel_exchange))
    one.at, one.first_byte_s = began_at, now - began_at
    one.total_s, one.age_s, one.ttl_s = one.first_byte_s, age_s, replay.lifetime_s - age_s
    one.body_bytes = replay.glance.length if replay.has_body else 0
    one.status, one.minor, one.outcome = replay.status, 1, HIT
    one.client.data = PyUnicode_AsUTF8AndSize(client_ip or "-", &length)
    one.client.length = length
    one.method.data = b"HEAD"
    one.method.length = 4
    if not head.is_head:
        one.method.data = b"GET"
        one.method.length = 3
    one.host, one.tags, one.rule = text_of(replay.host), text_of(replay.tags), text_of(replay.rule)
    one.target.data, one.target.length = head.target.at, head.target.length
    tell_browser(head, &one)
    log.put(&one)


cdef void tell_browser(Head *head, accel_exchange *one) noexcept nogil:
    cdef Line *line
    cdef int at
    for at in range(head.count):
        line = &head.lines[at]
        if is_name(&line.name, b"user-agent", 10):
            one.user_agent.data, one.user_agent.length = line.value.at, line.value.length
        elif is_name(&line.name, b"referer", 7):
            one.referer.data, one.referer.length = line.value.at, line.value.length


cdef inline accel_text text_of(bytes value) noexcept:
    cdef accel_text text
    text.data, text.length = PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value)
    return text
