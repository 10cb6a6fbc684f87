/* connection.c - an answer that goes past MHD.
 *
 * SPDX-License-Identifier: MIT
 */
#include "connection.h"

#include <stdio.h>
#include <sys/socket.h>

#include "answers.h"

void connection_say_error(const struct connection *connection,
                          enum error_code code)
{
    const struct error_info *info = error_info(code);
    char body[256], text[512];
    int n = snprintf(body, sizeof body,
                     "{\"type\":\"/problems/%s\",\"title\":\"%s\","
                     "\"status\":%u,\"code\":\"%s\"}",
                     info->slug, info->title, info->status, info->code);

    n = snprintf(text, sizeof text,
                 "HTTP/1.1 %u %s\r\nConnection: close\r\n"
                 "Content-Type: application/problem+json\r\n"
                 "Content-Length: %d\r\n\r\n%s",
                 info->status, info->title, n, body);
    connection->answers->n_problems[code]++;
    (void)send(connection->fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
}
