/* head.c - from a request's head to struct request.
 *
 * SPDX-License-Identifier: MIT
 */
#include "head.h"

#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "framing.h"

static bool is_request_id(const char *text)
{
    size_t n = 0;

    for (; text && *text; text++, n++)
        if (*text < 0x21 || *text > 0x7e)
            return false;
    return n >= 1 && n <= 128;
}

/* 100 random bits in base32: unguessable, and short in a log. */
static const char *new_request_id(struct mem_arena *arena)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    unsigned char bytes[20];
    char text[sizeof bytes + 1] = "";
    size_t i;

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return "req_none";
    for (i = 0; i < sizeof bytes; i++)
        text[i] = digits[bytes[i] & 31];
    return mem_arena_printf(arena, "req_%s", text);
}

void head_set_id(struct request *request)
{
    const char *id = request_header(request, "X-Request-Id");

    request->id = is_request_id(id) ? id : new_request_id(request->arena);
}

void head_set_method(struct request *request, const char *method)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE",
                                        "OPTIONS"};
    size_t i;

    request->is_head = strcmp(method, "HEAD") == 0;
    request->method = request->is_head ? HTTP_GET : N_HTTP_METHODS;
    for (i = 0; i < N_HTTP_METHODS; i++)
        if (strcmp(method, names[i]) == 0)
            request->method = (enum http_method)i;
}

bool head_read_target(struct request *request)
{
    size_t n_path = strcspn(request->target, "?");
    char *path = mem_arena_zero(request->arena, n_path + 1, 1);
    const char *p = request->target + n_path;

    if (!path || !framing_decode(request->target, n_path, false, path))
        return false;
    request->path = path;
    while (*p) {
        struct request_pair *pair = &request->query[request->n_query];
        size_t n = strcspn(++p, "&");
        size_t n_name = strcspn(p, "=&");
        size_t n_value = n > n_name ? n - n_name - 1 : 0;
        char *name = mem_arena_zero(request->arena, n_name + 1, 1);
        char *value = mem_arena_zero(request->arena, n_value + 1, 1);

        if (!name || !value || request->n_query == REQUEST_MAX_QUERY ||
            !framing_decode(p, n_name, true, name) ||
            !framing_decode(p + n_name + (n > n_name), n_value, true, value))
            return false;
        if (n) {
            pair->name = name;
            pair->value = value;
            request->n_query++;
        }
        p += n;
    }
    return true;
}

bool head_is_json(const struct request *request)
{
    const char *type = request_header(request, "Content-Type");
    size_t n = type ? strcspn(type, "; \t") : 0;

    if (n == 16 && strncasecmp(type, "application/json", n) == 0)
        return true;
    if (request_header(request, "Origin"))
        return false;
    return !type || !*type ||
           (n == 33 &&
            strncasecmp(type, "application/x-www-form-urlencoded", n) == 0);
}
