/* The smallest server that an event loop allows: the origin of the side-by-side runs, and their limit.

   It owns nothing but prepared answers: one recv, one look at the path, one send a request. What it does not do is the
   point: no parsing beyond the path, no log, no limits, no timeouts. So no proxy on the same kernel can cost less.

       server PORT

   GET /s/SIZE/... is answered with SIZE bytes that may be stored for an hour, /n/SIZE/... with the same and no-store,
   /count with how many of those were answered so far. A request whose last field is "Connection: close" ends its
   connection. Requests have no bodies and are not pipelined (the load generator sends none such, and proxies do not). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, ANSWERS = 16, HEAD = 512, REQUEST = 16384, FILES = 1 << 17 };

struct answer {
    char kind;
    long size;
    char *bytes; /* HEAD bytes of room, then the body; the head ends where the body begins */
    char *start;
    size_t length;
    int slow; /* connections that took only a part so far: its bytes stay as they are */
};

struct conn {
    char *partial; /* a head that came in pieces; NULL for nearly all */
    size_t have;
    struct answer *sending;
    size_t sent;
    int ends;
};

static struct answer answers[ANSWERS];
static struct conn conns[FILES];
static unsigned long served;
static time_t now_at;
static int epoll;

static void put_head(struct answer *answer) {
    char head[HEAD], date[64];
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now_at, &tm));
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\nContent-Type: text/html; charset=utf-8\r\n"
                          "Content-Length: %ld\r\nLast-Modified: Tue, 03 Mar 2026 10:00:00 GMT\r\n"
                          "ETag: \"67c57de0-%lx\"\r\nCache-Control: %s\r\n\r\n",
                          date, answer->size, answer->size, answer->kind == 's' ? "max-age=3600" : "no-store");
    answer->start = answer->bytes + HEAD - length;
    answer->length = (size_t)(length + answer->size);
    memcpy(answer->start, head, (size_t)length);
}

static struct answer *answer_for(char kind, long size) {
    struct answer *answer = answers;
    for (; answer->bytes; answer++)
        if (answer->size == size && answer->kind == kind) return answer;
    if (answer == answers + ANSWERS - 1) return NULL;
    answer->kind = kind;
    answer->size = size;
    answer->bytes = malloc((size_t)(HEAD + size));
    memset(answer->bytes + HEAD, 'x', (size_t)size);
    put_head(answer);
    return answer;
}

static void tick(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (now.tv_sec == now_at) return;
    now_at = now.tv_sec;
    for (struct answer *answer = answers; answer->bytes; answer++)
        if (!answer->slow) put_head(answer);
}

static void end(int fd) {
    if (conns[fd].sending) conns[fd].sending->slow--;
    free(conns[fd].partial);
    memset(&conns[fd], 0, sizeof conns[fd]);
    close(fd);
}

static void want(int fd, unsigned events) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
}

static void go_on(int fd) {
    struct conn *conn = &conns[fd];
    ssize_t sent = send(fd, conn->sending->start + conn->sent, conn->sending->length - conn->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) { end(fd); return; }
    conn->sent += sent > 0 ? (size_t)sent : 0;
    if (conn->sent < conn->sending->length) return;
    conn->sending->slow--;
    conn->sending = NULL;
    if (conn->ends) end(fd);
    else want(fd, EPOLLIN);
}

static void say_count(int fd) {
    char body[32], text[128];
    int length = snprintf(body, sizeof body, "%lu", served);
    length = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, body);
    if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length) end(fd);
}

static void serve(int fd, const char *head, size_t length) {
    static const char last[] = "Connection: close\r\n\r\n";
    if (length > 11 && !memcmp(head, "GET /count ", 11)) { say_count(fd); return; }
    char *after = NULL;
    long size = length > 16 && !memcmp(head, "GET /", 5) && head[6] == '/' ? strtol(head + 7, &after, 10) : -1;
    struct answer *answer = size >= 0 && *after == '/' ? answer_for(head[5], size) : NULL;
    if (!answer) { end(fd); return; }
    served++;
    int ends = length > sizeof last && !memcmp(head + length - (sizeof last - 1), last, sizeof last - 1);
    ssize_t sent = send(fd, answer->start, answer->length, MSG_NOSIGNAL);
    if (sent == (ssize_t)answer->length) {
        if (ends) end(fd);
        return;
    }
    if (sent < 0 && errno != EAGAIN) { end(fd); return; }
    answer->slow++;
    conns[fd].sending = answer;
    conns[fd].sent = sent > 0 ? (size_t)sent : 0;
    conns[fd].ends = ends;
    want(fd, EPOLLOUT);
}

static void hear(int fd) {
    static char buffer[REQUEST];
    struct conn *conn = &conns[fd];
    memcpy(buffer, conn->partial ? conn->partial : "", conn->have);
    ssize_t got = recv(fd, buffer + conn->have, sizeof buffer - 1 - conn->have, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) end(fd);
        return;
    }
    size_t length = conn->have + (size_t)got;
    buffer[length] = 0;
    if (length > 3 && !memcmp(buffer + length - 4, "\r\n\r\n", 4)) {
        conn->have = 0;
        serve(fd, buffer, length);
        return;
    }
    if (!conn->partial) conn->partial = malloc(REQUEST);
    memcpy(conn->partial, buffer, length);
    conn->have = length;
}

static void greet(int listener) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    if (fd >= FILES) { close(fd); return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("listen"); return 1; }
    epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        tick();
        for (int at = 0; at < ready; at++) {
            int fd = events[at].data.fd;
            if (fd == listener) greet(listener);
            else if (conns[fd].sending) go_on(fd);
            else hear(fd);
        }
    }
}
