/* listen.c - sockets by address.
 *
 * SPDX-License-Identifier: MIT
 */
#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "request.h"

#define BACKLOG  1024
#define FIRST_FD 3 /* of those that a service manager passes                 */

struct address {
    char host[128]; /* "" for all                                            */
    char port[8];
};

/* HOST:PORT, [V6]:PORT, :PORT */
static bool split_address(const char *text, int port, struct address *out)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    size_t n = colon ? (size_t)(colon - text) : 0;
    uint64_t number;

    if (!colon || !request_number(colon + 1, 65535, &number))
        return false;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    } else if (memchr(host, ':', n)) {
        return false; /* IPv6 needs brackets                                 */
    }
    if (n >= sizeof out->host)
        return false;
    memcpy(out->host, host, n);
    out->host[n] = 0;
    (void)snprintf(out->port, sizeof out->port, "%u",
                   port >= 0 ? (unsigned)port : (unsigned)number);
    return true;
}

static bool is_loopback(const struct sockaddr *address)
{
    const struct sockaddr_in *v4 = (const void *)address;
    const struct sockaddr_in6 *v6 = (const void *)address;

    if (address->sa_family == AF_UNIX)
        return true;
    if (address->sa_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
             v6->sin6_addr.s6_addr[12] == 127));
}

/* Fill url and the flags from the bound socket. */
static bool describe(struct listener *listener)
{
    struct sockaddr_storage name;
    struct sockaddr *address = (struct sockaddr *)&name;
    socklen_t n = sizeof name;
    char host[80] = "";
    char port[8] = "";

    memset(&name, 0, sizeof name);
    if (getsockname(listener->fd, address, &n) != 0)
        return false;
    listener->is_unix = address->sa_family == AF_UNIX;
    listener->is_loopback = is_loopback(address);
    if (listener->is_unix) {
        const struct sockaddr_un *local = (const void *)&name;

        (void)snprintf(listener->url, sizeof listener->url, "unix:%.107s",
                       local->sun_path);
        return true;
    }
    if (getnameinfo(address, n, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    (void)snprintf(listener->url, sizeof listener->url,
                   strchr(host, ':') ? "http://[%s]:%s" : "http://%s:%s", host,
                   port);
    return true;
}

static bool system_failed(char *why, size_t size, const char *address,
                          const char *what)
{
    const char *advice = errno == EADDRINUSE
                             ? "; another program listens there: give another "
                               "--listen or --port (0: any that is free)"
                             : "";

    (void)snprintf(why, size, "--listen %.100s: %s: %s%s", address, what,
                   strerror(errno), advice);
    return false;
}

/* A socket left behind by a process that is gone may be replaced. */
static void remove_stale(const struct sockaddr_un *name)
{
    struct stat info;
    int fd;

    if (lstat(name->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const void *)name, sizeof *name) != 0 &&
        errno == ECONNREFUSED)
        (void)unlink(name->sun_path);
    (void)close(fd);
}

static bool open_unix(struct listener *listener, const char *path, char *why,
                      size_t size)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};

    if (!*path || strlen(path) >= sizeof name.sun_path) {
        (void)snprintf(why, size,
                       "--listen unix:PATH: PATH must be 1..%zu "
                       "bytes long",
                       sizeof name.sun_path - 1);
        return false;
    }
    memcpy(name.sun_path, path, strlen(path));
    remove_stale(&name);
    listener->fd =
        socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener->fd < 0 ||
        bind(listener->fd, (const void *)&name, sizeof name) != 0)
        return system_failed(why, size, path, "cannot bind");
    memcpy(listener->path, path, strlen(path) + 1);
    if (listen(listener->fd, BACKLOG) != 0 || !describe(listener))
        return system_failed(why, size, path, "cannot listen");
    return true;
}

static bool open_tcp(struct listener *listener, const struct addrinfo *info,
                     bool is_all)
{
    int one = 1;
    int zero = 0;
    int fd =
        socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (info->ai_family == AF_INET6) /* [::] serves IPv4 too                 */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_all ? &zero : &one,
                         sizeof one);
    listener->fd = fd;
    if (bind(fd, info->ai_addr, info->ai_addrlen) == 0 &&
        listen(fd, BACKLOG) == 0 && describe(listener))
        return true;
    (void)close(fd);
    listener->fd = -1;
    return false;
}

/* Its port may be that of --port. */
static const char *shown(const struct address *parts, char *text, size_t size)
{
    bool is_v6 = strchr(parts->host, ':') != NULL;

    (void)snprintf(text, size, "%s%.64s%s:%.8s", is_v6 ? "[" : "", parts->host,
                   is_v6 ? "]" : "", parts->port);
    return text;
}

bool listener_open(struct listener *listener, const char *address, int port,
                   char *why, size_t why_size, bool *is_usage)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    struct address parts;
    char text[100];
    int rc;
    bool is_open;

    *listener = (struct listener){.fd = -1};
    *is_usage = false;
    if (strncmp(address, "unix:", 5) == 0)
        return open_unix(listener, address + 5, why, why_size);
    if (!split_address(address, port, &parts)) {
        (void)snprintf(why, why_size,
                       "--listen %.100s: must be HOST:PORT, [V6]:PORT or "
                       "unix:PATH, port 0..65535",
                       address);
        *is_usage = true;
        return false;
    }
    rc = getaddrinfo(parts.host[0] ? parts.host : "0.0.0.0", parts.port, &hints,
                     &list);
    if (rc != 0) {
        (void)snprintf(why, why_size, "--listen %.100s: %s", address,
                       gai_strerror(rc));
        return false;
    }
    is_open = false;
    for (const struct addrinfo *at = list; at && !is_open; at = at->ai_next)
        is_open = open_tcp(listener, at, strcmp(parts.host, "::") == 0);
    if (!is_open)
        (void)system_failed(why, why_size, shown(&parts, text, sizeof text),
                            "cannot listen");
    freeaddrinfo(list);
    return is_open;
}

bool listener_inherit(struct listener *listener)
{
    const char *pid = getenv("LISTEN_PID");
    const char *count = getenv("LISTEN_FDS");
    uint64_t number;

    *listener = (struct listener){.fd = -1};
    if (!request_number(count, 16, &number) || number == 0 ||
        !request_number(pid, INT32_MAX, &number) ||
        number != (uint64_t)getpid())
        return false;
    listener->fd = FIRST_FD;
    if (describe(listener))
        return true;
    listener->fd = -1;
    return false;
}

void listener_close(struct listener *listener)
{
    if (listener->fd >= 0)
        (void)close(listener->fd);
    if (listener->path[0])
        (void)unlink(listener->path);
    *listener = (struct listener){.fd = -1};
}

/* ------------------------------------------------------------------ client */

static void set_timeouts(int fd, int timeout_ms)
{
    struct timeval time = {timeout_ms / 1000, timeout_ms % 1000 * 1000};

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time);
}

static int connect_to(const struct sockaddr *name, socklen_t n, int timeout_ms)
{
    int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    set_timeouts(fd, timeout_ms);
    if (connect(fd, name, n) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

int listener_connect(const char *address, int timeout_ms)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    struct address parts;
    const char *host;
    int fd = -1;

    if (strncmp(address, "unix:", 5) == 0) {
        if (strlen(address + 5) >= sizeof local.sun_path)
            return -1;
        memcpy(local.sun_path, address + 5, strlen(address + 5));
        return connect_to((const void *)&local, sizeof local, timeout_ms);
    }
    if (!split_address(address, -1, &parts))
        return -1;
    host = parts.host;
    if (!*host || strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    if (getaddrinfo(host, parts.port, &hints, &list) != 0)
        return -1;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = connect_to(at->ai_addr, at->ai_addrlen, timeout_ms);
    freeaddrinfo(list);
    return fd;
}
