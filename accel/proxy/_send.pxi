# Sending beside a transport.

cdef extern from "<sys/uio.h>":
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "sys/socket.h":
    enum: MSG_DONTWAIT, MSG_NOSIGNAL
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t send(int fd, const void *data, size_t length, int flags) nogil
    ssize_t sendmsg(int fd, const msghdr *message, int flags) nogil
