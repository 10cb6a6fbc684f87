/* framing.c - the checks of framing.h, one small function each.
 *
 * SPDX-License-Identifier: MIT
 */
#include "framing.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* ------------------------------------------------------------- characters */

static bool is_token_byte(unsigned char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *text, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (!is_token_byte((unsigned char)text[i]))
            return false;
    return n > 0;
}

/* Visible ASCII, space, tab and obs-text (RFC 9110 5.5). */
static bool is_field_value(const char *text, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static bool is_named(const struct framing_header *header, const char *name)
{
    return header->n_name == strlen(name) &&
           strncasecmp(header->name, name, header->n_name) == 0;
}

static bool has_value(const struct framing_header *header, const char *value)
{
    return header->n_value == strlen(value) &&
           strncasecmp(header->value, value, header->n_value) == 0;
}

/* ----------------------------------------------------------- request line */

static const char *check_target(struct framing *framing)
{
    const char *target = framing->target;
    const char *p;
    size_t scheme = strncasecmp(target, "http://", 7) == 0    ? 7
                    : strncasecmp(target, "https://", 8) == 0 ? 8
                                                              : 0;

    for (p = target; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || *p == '#')
            return "the request target has a byte that is not allowed";
    framing->path = target;
    if (scheme) {
        framing->host = target + scheme;
        framing->n_host = strcspn(framing->host, "/?");
        framing->path = framing->host + framing->n_host;
        if (framing->n_host == 0 || framing->path[0] != '/')
            return "the request target has no host or no path";
    }
    if (strcmp(framing->path, "*") == 0 &&
        strcmp(framing->method, "OPTIONS") == 0)
        return NULL;
    if (framing->path[0] != '/')
        return "the request target does not start with /";
    return NULL;
}

/* reg-name, IPv4 or [IPv6], then perhaps :port. */
static bool is_host(const char *host, size_t n)
{
    const char *colon;
    size_t i = 0;
    size_t port;

    if (n && host[0] == '[') {
        const char *end = memchr(host, ']', n);

        if (!end)
            return false;
        for (i = 1; host + i < end; i++)
            if (!strchr("0123456789abcdefABCDEF:.", host[i]))
                return false;
        i = (size_t)(end - host) + 1;
    } else {
        colon = memchr(host, ':', n);
        port = colon ? (size_t)(colon - host) : n;
        for (i = 0; i < port; i++)
            if (!is_token_byte((unsigned char)host[i]) ||
                strchr("#^`|", host[i]))
                return false;
    }
    if (i < n && host[i++] != ':')
        return false;
    for (port = i; i < n; i++)
        if (host[i] < '0' || host[i] > '9')
            return false;
    return n - port <= 5;
}

/* ---------------------------------------------------------------- headers */

static const char *take_length(struct framing *framing,
                               const struct framing_header *header)
{
    size_t i;

    if (framing->has_length)
        return "Content-Length stands twice";
    if (header->n_value == 0 || header->n_value > 18)
        return "Content-Length is not a number";
    framing->length = 0;
    for (i = 0; i < header->n_value; i++) {
        if (header->value[i] < '0' || header->value[i] > '9')
            return "Content-Length is not a number";
        framing->length =
            framing->length * 10 + (uint64_t)(header->value[i] - '0');
    }
    framing->has_length = true;
    return NULL;
}

static const char *take_encoding(struct framing *framing,
                                 const struct framing_header *header)
{
    if (framing->is_chunked)
        return "Transfer-Encoding stands twice";
    if (!has_value(header, "chunked"))
        return "Transfer-Encoding is not chunked";
    if (strcmp(framing->version, "HTTP/1.1") != 0)
        return "Transfer-Encoding needs HTTP/1.1";
    framing->is_chunked = true;
    return NULL;
}

static const char *take_host(struct framing *framing, bool *has_host,
                             const struct framing_header *header)
{
    if (*has_host)
        return "Host stands twice";
    *has_host = true;
    if (!is_host(header->value, header->n_value))
        return "Host is not a host name";
    if (!framing->host) { /* an absolute target wins (RFC 9112 3.2.2)        */
        framing->host = header->value;
        framing->n_host = header->n_value;
    }
    return NULL;
}

static const char *take_header(struct framing *framing, bool *has_host,
                               const struct framing_header *header,
                               enum error_code *code)
{
    if (!is_token(header->name, header->n_name))
        return "a header name has a byte that is not allowed";
    if (!is_field_value(header->value, header->n_value))
        return "a header value has a control byte";
    if (is_named(header, "Content-Length"))
        return take_length(framing, header);
    if (is_named(header, "Transfer-Encoding"))
        return take_encoding(framing, header);
    if (is_named(header, "Host"))
        return take_host(framing, has_host, header);
    if (is_named(header, "Expect")) {
        framing->expects_continue = has_value(header, "100-continue");
        if (!framing->expects_continue) {
            *code = ERROR_EXPECTATION_FAILED;
            return "the only expectation known is 100-continue";
        }
    }
    return NULL;
}

const char *framing_check(struct framing *framing, enum error_code *code)
{
    bool has_host = false;
    const char *why;
    size_t i;

    *code = ERROR_MALFORMED_REQUEST;
    framing->host = NULL;
    framing->n_host = 0;
    framing->is_chunked = framing->has_length = false;
    framing->expects_continue = false;
    framing->length = 0;
    if (!is_token(framing->method, strlen(framing->method)))
        return "the method has a byte that is not allowed";
    if (strcmp(framing->version, "HTTP/1.1") != 0 &&
        strcmp(framing->version, "HTTP/1.0") != 0) {
        *code = ERROR_VERSION_NOT_SUPPORTED;
        return "the version is not HTTP/1.1 or HTTP/1.0";
    }
    why = check_target(framing);
    if (!why && framing->host && !is_host(framing->host, framing->n_host))
        why = "the request target's host is not a host name";
    for (i = 0; i < framing->n_headers && !why; i++)
        why = take_header(framing, &has_host, &framing->headers[i], code);
    if (why)
        return why;
    if (framing->is_chunked && framing->has_length)
        return "Content-Length and Transfer-Encoding stand together";
    if (!has_host && strcmp(framing->version, "HTTP/1.1") == 0)
        return "Host is missing";
    return NULL;
}

/* ------------------------------------------------------- between the lines */

static const char *skip_blanks(const char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

static bool are_nul(const char *text, size_t n)
{
    while (n && !*text) {
        text++;
        n--;
    }
    return n == 0;
}

bool framing_is_contiguous(const struct framing *framing,
                           const char *raw_target)
{
    const char *version = framing->version;
    const char *end = version + strlen(version);

    if (raw_target + strlen(framing->target) + 1 != version)
        return false;
    for (size_t i = 0; i < framing->n_headers; i++) {
        const struct framing_header *header = &framing->headers[i];
        const char *colon = header->name + header->n_name;

        end = skip_blanks(end);
        if (!are_nul(end, 2) || end + 2 != header->name || *colon)
            return false;
        end = skip_blanks(colon + 1);
        if (header->n_value && end != header->value)
            return false;
        end += header->n_value;
    }
    return are_nul(skip_blanks(end), 4); /* its own end and the empty line   */
}

/* ------------------------------------------------------------------- host */

static bool is_ip_literal(const char *host, size_t n)
{
    char text[64];
    struct in_addr v4;

    if (n && host[0] == '[')
        return true; /* is_host() has seen to the inside                     */
    if (n >= sizeof text)
        return false;
    memcpy(text, host, n);
    text[n] = 0;
    return inet_pton(AF_INET, text, &v4) == 1;
}

bool framing_host_is_mine(const char *host, size_t n_host, char *const *names,
                          size_t n_names, bool has_keys)
{
    const char *end = n_host && host[0] == '[' ? memchr(host, ']', n_host)
                                               : memchr(host, ':', n_host);
    size_t n = end ? (size_t)(end - host) + (*end == ']') : n_host;
    size_t i;

    if (n > 1 && host[n - 1] == '.') /* "localhost." is the same name        */
        n--;
    if (n == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (is_ip_literal(host, n))
        return true;
    for (i = 0; i < n_names; i++)
        if (strlen(names[i]) == n && strncasecmp(names[i], host, n) == 0)
            return true;
    return n_names == 0 && has_keys;
}

/* -------------------------------------------------------- percent escapes */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c | 32) >= 'a' && (c | 32) <= 'f')
        return (c | 32) - 'a' + 10;
    return -1;
}

bool framing_decode(const char *text, size_t n, bool is_query, char *out)
{
    size_t i;

    for (i = 0; i < n; i++) {
        int c = (unsigned char)text[i];

        if (c == '%') {
            int high = n - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = n - i > 2 ? hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = high * 16 + low;
            i += 2;
        } else if (c == '+' && is_query) {
            c = ' ';
        }
        if (c == 0 || (!is_query && (c < 0x20 || c == 0x7f)))
            return false;
        *out++ = (char)c;
    }
    *out = 0;
    return true;
}
