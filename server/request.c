/* request.c - looking things up in a request; Accept and Prefer.
 *
 * SPDX-License-Identifier: MIT
 */
#include "request.h"

#include <string.h>
#include <strings.h>

static const char *find(const struct request_pair *pairs, size_t n,
                        const char *name)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (strcmp(pairs[i].name, name) == 0)
            return pairs[i].value;
    return NULL;
}

const char *request_param(const struct request *request, const char *name)
{
    const char *value = find(request->params, request->n_params, name);

    return value ? value : "";
}

const char *request_query(const struct request *request, const char *name)
{
    return find(request->query, request->n_query, name);
}

const char *request_header(const struct request *request, const char *name)
{
    const char *joined = NULL;
    size_t i;

    for (i = 0; i < request->n_headers; i++) {
        const struct request_pair *header = &request->headers[i];

        if (strcasecmp(header->name, name) != 0)
            continue;
        joined = joined ? mem_arena_printf(request->arena, "%s, %s", joined,
                                           header->value)
                        : header->value;
        if (!joined)
            return NULL;
    }
    return joined;
}

bool request_number(const char *text, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;

    if (!text || !*text)
        return false;
    for (; *text; text++) {
        uint64_t digit = (uint64_t)(*text - '0');

        if (*text < '0' || *text > '9' || value > (max - digit) / 10 ||
            digit > max)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

/* ---------------------------------------------------------- list headers -- */

/* Skip spaces; n is the length without trailing ones. */
static const char *trim(const char *text, size_t *n)
{
    while (*n && (*text == ' ' || *text == '\t')) {
        text++;
        (*n)--;
    }
    while (*n && (text[*n - 1] == ' ' || text[*n - 1] == '\t'))
        (*n)--;
    return text;
}

/* Length up to the next `stop` outside quotes. */
static size_t until(const char *text, size_t n, char stop)
{
    bool is_quoted = false;
    size_t i;

    for (i = 0; i < n; i++) {
        if (text[i] == '"')
            is_quoted = !is_quoted;
        else if (is_quoted && text[i] == '\\')
            i++;
        else if (!is_quoted && text[i] == stop)
            return i;
    }
    return n;
}

/* q of "type/sub;q=0.5;...", in thousandths; bad ones count as 0. */
static int quality(const char *item, size_t n)
{
    size_t at = until(item, n, ';');

    while (at < n) {
        size_t part = until(item + at + 1, n - at - 1, ';');
        size_t length = part;
        const char *text = trim(item + at + 1, &length);
        int q = 0;
        int scale = 1000;

        at += 1 + part;
        if (length < 3 || (text[0] | 32) != 'q' || text[1] != '=')
            continue;
        if (text[2] != '0' && text[2] != '1')
            return 0;
        q = (text[2] - '0') * 1000;
        for (size_t i = 4; i < length && i < 7; i++) {
            if (text[3] != '.' || text[i] < '0' || text[i] > '9')
                return 0;
            scale /= 10;
            q += (text[i] - '0') * scale;
        }
        return q > 1000 ? 1000 : q;
    }
    return 1000;
}

/* How closely a media range names the type: 0 not, 1 any, 2 type/any, 3 all. */
static int closeness(const char *range, size_t n, const char *type)
{
    const char *slash = strchr(type, '/');
    size_t n_type = slash ? (size_t)(slash - type) + 1 : 0;

    if (n == 3 && strncmp(range, "*/*", 3) == 0)
        return 1;
    if (n == n_type + 1 && range[n - 1] == '*' &&
        strncasecmp(range, type, n_type) == 0)
        return 2;
    return n == strlen(type) && strncasecmp(range, type, n) == 0 ? 3 : 0;
}

/* q that the header gives to `type`: that of the closest range. */
static int type_quality(const char *header, const char *type)
{
    size_t n = strlen(header);
    size_t at = 0;
    int best = 0;
    int q = 0;

    while (at < n) {
        size_t length = until(header + at, n - at, ',');
        size_t n_item = length;
        const char *item = trim(header + at, &n_item);
        size_t n_range = until(item, n_item, ';');
        int close;

        (void)trim(item, &n_range);
        close = closeness(item, n_range, type);
        if (close > best) {
            best = close;
            q = quality(item, n_item);
        }
        at += length + 1;
    }
    return q;
}

int request_accept(const char *header, const char *const *offered, size_t n)
{
    size_t length = header ? strlen(header) : 0;
    int best = -1;
    int best_q = 0;
    size_t i;

    if (length)
        (void)trim(header, &length);
    if (length == 0)
        return n ? 0 : -1;
    for (i = 0; i < n; i++) {
        int q = type_quality(header, offered[i]);

        if (q > best_q) {
            best_q = q;
            best = (int)i;
        }
    }
    return best;
}

bool request_prefers(const struct request *request, const char *token,
                     const char **value)
{
    const char *header = request_header(request, "Prefer");
    size_t n = header ? strlen(header) : 0;
    size_t n_token = strlen(token);
    size_t at = 0;

    while (at < n) {
        size_t length = until(header + at, n - at, ',');
        size_t n_item = until(header + at, length, ';');
        const char *item = trim(header + at, &n_item);
        size_t n_name = until(item, n_item, '=');
        size_t n_value = n_item > n_name ? n_item - n_name - 1 : 0;
        const char *text = trim(item + n_name + (n_item > n_name), &n_value);

        (void)trim(item, &n_name);
        at += length + 1;
        if (n_name != n_token || strncasecmp(item, token, n_token) != 0)
            continue;
        if (n_value >= 2 && text[0] == '"' && text[n_value - 1] == '"') {
            text++;
            n_value -= 2;
        }
        if (value)
            *value = mem_arena_strndup(request->arena, text, n_value);
        return !value || *value;
    }
    return false;
}

bool request_is_lenient(const struct request *request)
{
    const char *handling = NULL;

    return request_prefers(request, "handling", &handling) &&
           strcmp(handling, "lenient") == 0;
}

bool request_none_match(const struct request *request, const char *etag)
{
    const char *header = request_header(request, "If-None-Match");
    size_t n = header ? strlen(header) : 0;
    size_t at = 0;

    while (at < n) {
        size_t length = until(header + at, n - at, ',');
        size_t n_item = length;
        const char *item = trim(header + at, &n_item);

        if (n_item > 2 && strncmp(item, "W/", 2) == 0) { /* weak comparison  */
            item += 2;
            n_item -= 2;
        }
        if ((n_item == 1 && *item == '*') ||
            (n_item == strlen(etag) && memcmp(item, etag, n_item) == 0))
            return true;
        at += length + 1;
    }
    return false;
}
