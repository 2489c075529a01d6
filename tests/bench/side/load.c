/* The load generator of the side-by-side runs: one thread, keep-alive connections, every answer verified.

       load PORT CONNECTIONS AMOUNT TEMPLATE LENGTH [name=value ...]

   AMOUNT is s:SECONDS, n:REQUESTS, or idle:WORD. TEMPLATE is a file with one request; ########## in it becomes a number
   for each request, @@@@@@@@@@ another that no request before it had. An answer is right if it is a 200 whose
   Content-Length is LENGTH, and as many bytes came. Options:
       numbers=count:START   the number goes up from START (the default, from 0)
       numbers=zipf:N        it is drawn from N by Zipf's law, exponent 1
       must=TEXT             the head of the answer contains TEXT
       close=1               a new connection for each request (the template says so to the server)
       rate=R                R requests a second in a Poisson process, however slow the answers are: a time counts from
                             the instant when the request was due, also where it had to wait for a connection. What
                             of that was the generator's own (due, a connection free, and not sent) it says too.
                             Each connection has an answer before, and the first tenth of a second is not counted
   idle:new opens the connections, idle:used has one request answered on each; then it says "open", waits for a line and
   has a request answered on each of them. At the end a line of JSON says what was seen; requests in flight are awaited.

   A request is whole in one segment, so a send that takes less is an error. Sources of new connections rotate over
   addresses of 127/8, so that ports in TIME_WAIT do not run out. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, HEAD = 16384, SCRATCH = 1 << 20, SOURCES = 32, DIGITS = 10, BATCH = 64, AT_ONCE = 8 };
static const long long STALL_MS = 10000, MS = 1000000, WARM_MS = 100;

struct conn {
    int fd, is_busy;
    long left; /* of the body; -1 while the head is not complete */
    size_t have;
    long long since_ns;
    char *head;
};

static struct {
    unsigned short port;
    int connections, closes, must_length, is_idle, asks_first;
    long length, requests;
    double seconds, rate;
    const char *must;
} set;
static char request[HEAD], scratch[SCRATCH], first_wrong[256];
static size_t request_length;
static char *number_at, *unique_at;
static long long next_number, next_unique, drawn_of;
static double *zipf;
static struct times {
    unsigned *ns;
    long count, room;
} times, late; /* of answers; by which requests were sent later than they could have been */
static long started, answered, wrong, in_flight, connected;
static struct conn *conns;
static int epoll;

static long long mono_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static double chance(void) {
    static unsigned long long state = 88172645463325252ULL; /* xorshift64: every run draws the same */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

static void __attribute__((noreturn)) fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void note_wrong(const char *why, const char *text, size_t length) {
    if (!wrong++) snprintf(first_wrong, sizeof first_wrong, "%s: %.*s", why, (int)(length < 180 ? length : 180), text);
}

/* What is asked. */

static long long drawn(void) {
    double point = chance() * zipf[drawn_of - 1];
    long long low = 0, high = drawn_of - 1;
    while (low < high) {
        long long middle = (low + high) / 2;
        if (zipf[middle] < point) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void spell(char *place, long long number) {
    for (int at = DIGITS; at--; number /= 10) place[at] = (char)('0' + number % 10);
}

static void prepare_zipf(long long count) {
    drawn_of = count;
    zipf = malloc((size_t)count * sizeof *zipf);
    double sum = 0;
    for (long long at = 0; at < count; at++) zipf[at] = sum += 1.0 / (double)(at + 1);
}

static void send_request(struct conn *conn, long long due_ns) {
    if (number_at) spell(number_at, zipf ? drawn() : next_number++);
    if (unique_at) spell(unique_at, next_unique++);
    conn->is_busy = 1;
    conn->left = -1;
    conn->have = 0;
    conn->since_ns = due_ns;
    started++;
    in_flight++;
    if (send(conn->fd, request, request_length, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)request_length)
        note_wrong("a request could not be sent", strerror(errno), 40);
}

/* What is answered. */

static long content_length(const char *line, const char *end) {
    while (line < end) {
        if (!strncasecmp(line, "content-length:", 15)) return strtol(line + 15, NULL, 10);
        line = memchr(line, '\n', (size_t)(end - line));
        if (!line++) break;
    }
    return -1;
}

/* Returns 1 with the body's beginning in `left`, 0 if more of the head must come. */
static int judge_head(struct conn *conn) {
    char *end = memmem(conn->head, conn->have, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t length = (size_t)(end - conn->head) + 4;
    long announced = content_length(conn->head, end);
    if (memcmp(conn->head, "HTTP/1.1 200", 12)) note_wrong("status", conn->head, length);
    else if (announced != set.length) note_wrong("length", conn->head, length);
    else if (set.must && !memmem(conn->head, length, set.must, (size_t)set.must_length))
        note_wrong("not what was expected", conn->head, length);
    conn->left = (announced < 0 ? set.length : announced) - (long)(conn->have - length);
    return 1;
}

static void keep(struct times *kept, long long took_ns) {
    if (kept->count == kept->room) {
        kept->room = kept->room ? kept->room * 2 : 1 << 20;
        kept->ns = realloc(kept->ns, (size_t)kept->room * sizeof *kept->ns);
    }
    kept->ns[kept->count++] = took_ns > 4000000000LL ? 4000000000U : took_ns < 0 ? 0 : (unsigned)took_ns;
}

/* Returns 1 when the answer is complete, 0 when more must come, -1 if the connection ended. */
static int hear(struct conn *conn) {
    ssize_t got;
    if (conn->left < 0) got = recv(conn->fd, conn->head + conn->have, HEAD - conn->have - 1, MSG_DONTWAIT);
    else got = recv(conn->fd, scratch, sizeof scratch, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) return -1;
    if (conn->left < 0) {
        conn->have += (size_t)got;
        conn->head[conn->have] = 0;
        if (!judge_head(conn)) return 0;
    } else conn->left -= got;
    if (conn->left < 0) note_wrong("more bytes than announced", conn->head, conn->have);
    if (conn->left > 0) return 0;
    keep(&times, mono_ns() - conn->since_ns);
    answered++;
    in_flight--;
    conn->is_busy = 0;
    return 1;
}

/* Connections. */

static void open_conn(struct conn *conn) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(set.port)}, from = {.sin_family = AF_INET};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(0x7f000102u + (unsigned)(connected++ % SOURCES));
    conn->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (conn->fd < 0) fail("socket");
    if (!conn->head && !(conn->head = malloc(HEAD))) fail("memory");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (set.closes && bind(conn->fd, (struct sockaddr *)&from, sizeof from)) fail("bind");
    if (connect(conn->fd, (struct sockaddr *)&to, sizeof to)) fail("connect");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (!set.is_idle) epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event);
}

static void reopen(struct conn *conn) {
    close(conn->fd);
    open_conn(conn);
}

static void lose(struct conn *conn) {
    if (conn->is_busy) {
        note_wrong("the connection ended before its answer", conn->head, conn->have);
        in_flight--;
    } else note_wrong("an idle connection was closed", "", 0);
    conn->is_busy = 0;
    reopen(conn);
}

/* The ways to load. */

static int may_start(long long now_ns, long long end_ns) {
    return set.requests ? started < set.requests : now_ns < end_ns;
}

static int wait_for_events(struct epoll_event *events, int timeout_ms) {
    int ready = epoll_wait(epoll, events, EVENTS, timeout_ms);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    if (!ready && timeout_ms == STALL_MS) { errno = ETIMEDOUT; fail("nothing was answered"); }
    return ready;
}

/* As many requests as connections, always. */
static void saturate(long long began_ns) {
    struct epoll_event events[EVENTS];
    long long end_ns = began_ns + (long long)(set.seconds * 1e9);
    for (int at = 0; at < set.connections && may_start(began_ns, end_ns); at++) send_request(&conns[at], mono_ns());
    while (in_flight) {
        int ready = wait_for_events(events, (int)STALL_MS);
        for (int at = 0; at < ready; at++) {
            struct conn *conn = events[at].data.ptr;
            int heard = hear(conn);
            if (heard < 0) lose(conn);
            if (!heard) continue;
            long long now_ns = mono_ns();
            if (!may_start(now_ns, end_ns)) {
                if (set.closes) epoll_ctl(epoll, EPOLL_CTL_DEL, conn->fd, NULL);
                continue;
            }
            if (set.closes && heard > 0) reopen(conn);
            send_request(conn, now_ns);
        }
    }
}

static void await(struct conn *conn) {
    struct pollfd readable = {.fd = conn->fd, .events = POLLIN};
    int heard;
    do {
        if (poll(&readable, 1, (int)STALL_MS) <= 0) fail("an idle connection was not answered");
        heard = hear(conn);
    } while (!heard);
    if (heard > 0) return;
    note_wrong("an idle connection was closed", "", 0);
    in_flight--;
}

/* So many at once that the servers' time counts, not the round trips'. */
static void ask_all(int opens, int asks) {
    for (int from = 0; from < set.connections; from += BATCH) {
        int end = from + BATCH < set.connections ? from + BATCH : set.connections;
        for (int at = from; at < end; at++) {
            if (opens) open_conn(&conns[at]);
            if (asks) send_request(&conns[at], mono_ns());
        }
        for (int at = from; asks && at < end; at++) await(&conns[at]);
    }
}

/* Requests at a rate. The connection that was used last comes first, so there may be far more of them than are mostly
   under way: they are for servers that stop. */

static struct {
    struct conn **idle;
    int idle_count;
    double due_ns;                        /* when the next request is */
    long long began_ns, free_ns, end_ns; /* when it began, when a connection came free while none was, the last due */
} paced;

/* Few at once, so that answers do not wait for many requests. */
static void send_due(void) {
    for (int sent = 0; paced.idle_count && sent < AT_ONCE; sent++) {
        long long due_ns = (long long)paced.due_ns, now_ns = mono_ns();
        if (due_ns > now_ns || !may_start(due_ns, paced.end_ns)) return;
        keep(&late, now_ns - (due_ns > paced.free_ns ? due_ns : paced.free_ns));
        send_request(paced.idle[--paced.idle_count], due_ns);
        paced.due_ns -= log(1.0 - chance()) / set.rate * 1e9;
    }
}

static void hear_all(void) {
    struct epoll_event events[EVENTS];
    int ready = wait_for_events(events, 0);
    if (ready && !paced.idle_count) paced.free_ns = mono_ns();
    for (int at = 0; at < ready; at++) {
        struct conn *conn = events[at].data.ptr;
        int heard = hear(conn);
        if (heard < 0) lose(conn);
        if (heard) paced.idle[paced.idle_count++] = conn;
    }
}

/* Send whenever a request is due, and hear else; returns from when on times were kept. */
static long long pace(void) {
    int is_warm = 0;
    ask_all(0, 1);
    paced.idle = malloc((size_t)set.connections * sizeof *paced.idle);
    for (int at = 0; at < set.connections; at++) paced.idle[paced.idle_count++] = &conns[at];
    paced.due_ns = (double)(paced.began_ns = paced.free_ns = mono_ns());
    paced.end_ns = paced.began_ns + WARM_MS * MS + (long long)(set.seconds * 1e9);
    while (in_flight || may_start((long long)paced.due_ns, paced.end_ns)) {
        send_due();
        if (in_flight) hear_all();
        long long now_ns = mono_ns();
        if (!is_warm && now_ns > paced.began_ns + WARM_MS * MS) {
            is_warm = 1;
            paced.began_ns = now_ns;
            times.count = late.count = 0;
        }
        if (now_ns > paced.end_ns + STALL_MS * MS) { errno = ETIMEDOUT; fail("answers are missing"); }
    }
    return paced.began_ns;
}

static void idle(void) {
    char line[16];
    ask_all(1, set.asks_first);
    puts("open");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) fail("stdin");
    ask_all(0, 1);
}

/* What is set, and what is said. */

static void read_template(const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) fail(path);
    request_length = fread(request, 1, sizeof request - 1, file);
    fclose(file);
    number_at = strstr(request, "##########");
    unique_at = strstr(request, "@@@@@@@@@@");
}

static void read_option(const char *text) {
    if (!strncmp(text, "numbers=count:", 14)) next_number = atoll(text + 14);
    else if (!strncmp(text, "numbers=zipf:", 13)) prepare_zipf(atoll(text + 13));
    else if (!strncmp(text, "unique=", 7)) next_unique = atoll(text + 7);
    else if (!strncmp(text, "must=", 5)) set.must_length = (int)strlen(set.must = text + 5);
    else if (!strncmp(text, "close=", 6)) set.closes = atoi(text + 6);
    else if (!strncmp(text, "rate=", 5)) set.rate = atof(text + 5);
    else { errno = EINVAL; fail(text); }
}

static void read_amount(const char *text) {
    if (!strncmp(text, "s:", 2)) set.seconds = atof(text + 2);
    else if (!strncmp(text, "n:", 2)) set.requests = atol(text + 2);
    else if (!strncmp(text, "idle:", 5)) set.is_idle = 1, set.asks_first = !strcmp(text + 5, "used");
    else { errno = EINVAL; fail(text); }
}

static int by_value(const void *left, const void *right) {
    unsigned one = *(const unsigned *)left, other = *(const unsigned *)right;
    return (one > other) - (one < other);
}

/* Returns the time that so many of a hundred did not exceed. */
static double centile_us(struct times *kept, double centile) {
    if (!kept->count) return 0;
    qsort(kept->ns, (size_t)kept->count, sizeof *kept->ns, by_value);
    return kept->ns[(long)((double)kept->count * centile / 100)] / 1e3;
}

static void say(double seconds) {
    for (char *at = first_wrong; *at; at++)
        if (*at < ' ' || *at == '"' || *at == '\\' || *at > '~') *at = ' ';
    printf("{\"answered\": %ld, \"timed\": %ld, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f,"
           " \"late_us\": %.1f, \"wrong\": %ld, \"first_wrong\": \"%s\"}\n",
           answered, times.count, seconds, centile_us(&times, 50), centile_us(&times, 99), centile_us(&late, 99.9),
           wrong, first_wrong);
}

int main(int count, char **arguments) {
    if (count < 6) return 2;
    set.port = (unsigned short)atoi(arguments[1]);
    set.connections = atoi(arguments[2]);
    read_amount(arguments[3]);
    read_template(arguments[4]);
    set.length = atol(arguments[5]);
    for (int at = 6; at < count; at++) read_option(arguments[at]);
    conns = calloc((size_t)set.connections, sizeof *conns);
    epoll = epoll_create1(0);
    if (!set.is_idle)
        for (int at = 0; at < set.connections; at++) open_conn(&conns[at]);
    long long began_ns = mono_ns();
    if (set.is_idle) idle();
    else if (set.rate > 0) began_ns = pace();
    else saturate(began_ns);
    say((double)(mono_ns() - began_ns) / 1e9);
    return 0;
}
