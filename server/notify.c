/* notify.c - one datagram to the service manager.
 *
 * SPDX-License-Identifier: MIT
 */
#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "request.h"

void notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    int fd;

    if (n < 2 || n >= sizeof name.sun_path || !strchr("/@", path[0]))
        return;
    memcpy(name.sun_path, path, n);
    if (path[0] == '@') /* the abstract name space                           */
        name.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
                 (const void *)&name,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

uint64_t notify_watchdog_ms(void)
{
    const char *pid = getenv("WATCHDOG_PID");
    uint64_t value;

    if (pid && (!request_number(pid, INT32_MAX, &value) ||
                value != (uint64_t)getpid()))
        return 0;
    if (!request_number(getenv("WATCHDOG_USEC"), UINT64_MAX / 2, &value))
        return 0;
    return value / 2000;
}
