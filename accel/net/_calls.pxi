# The system calls, and what they fail with.

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR, SOL_SOCKET, SO_DOMAIN, SOCK_NONBLOCK, SOCK_CLOEXEC, AF_INET, AF_INET6
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void *into, size_t length, int flags)
    ssize_t send(int fd, const void *data, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
    int setsockopt "setsockopt"(int fd, int level, int name, const void *value, socklen_t length)
    int getsockname(int fd, sockaddr *address, socklen_t *length)
    int accept4(int fd, sockaddr *address, socklen_t *length, int flags)

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        pass
    struct in6_addr:
        pass
    struct sockaddr_in:
        in_addr sin_addr
        uint16_t sin_port
    struct sockaddr_in6:
        in6_addr sin6_addr
        uint16_t sin6_port
    uint16_t ntohs(uint16_t value)

cdef extern from "<arpa/inet.h>" nogil:
    const char *inet_ntop(int family, const void *address, char *into, socklen_t size)

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int set, int what, int fd, epoll_event *event)
    int epoll_wait(int set, epoll_event *events, int most, int timeout_ms)


cdef accept_one(int listening):
    """Return a new connection and who it is with."""
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(sockaddr_storage)
    cdef int fd
    address.ss_family = 0
    fd = accept4(listening, <sockaddr *>&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC)
    if fd < 0:
        raise failure()
    return fd, spelled(&address)


cdef own_name(int fd):
    """Return a socket's own address."""
    cdef sockaddr_storage address
    cdef socklen_t length = sizeof(sockaddr_storage)
    if getsockname(fd, <sockaddr *>&address, &length) < 0:
        raise failure()
    return spelled(&address)


cdef spelled(sockaddr_storage *address):
    """Return an address as (IP address, port); "" for a unix socket's."""
    cdef char[64] text
    if address.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<sockaddr_in *>address).sin_addr, text, sizeof(text))
        return text.decode(), ntohs((<sockaddr_in *>address).sin_port)
    if address.ss_family == AF_INET6:
        inet_ntop(AF_INET6, &(<sockaddr_in6 *>address).sin6_addr, text, sizeof(text))
        return text.decode(), ntohs((<sockaddr_in6 *>address).sin6_port)
    return ""


cdef object failure():
    """Return the error of the system call that just failed."""
    cdef int number = errno
    return OSError(number, strerror(number))
