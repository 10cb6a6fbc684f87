/* framing_table.c - 49 requests whose framing is wrong, and some that only
 * look so.
 *
 * A malformed request is refused when the server answers with 4xx or 5xx, or
 * not at all, and closes.  Behind each one, or inside its doubtful body, stands
 * a second request that is sound: if that is answered, it was smuggled, which
 * must never happen.  (The parser below answers a bad Content-Length with its
 * status line twice; the connection ends there all the same.)
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rawclient.h"

#define NEEDED_RIGHT 45
#define QUIET_MS     250

#define HOST   "Host: localhost\r\n"
#define GET    "GET /health/live HTTP/1.1\r\n" HOST
#define POST   "POST /generate HTTP/1.1\r\n" HOST
#define SECOND "GET /health/live HTTP/1.1\r\n" HOST "\r\n"

struct raw {
    const char *name;
    const char *bytes;
    size_t n;
};
#define RAW(name, bytes)               \
    {                                  \
        name, bytes, sizeof(bytes) - 1 \
    }

static const struct raw malformed[] = {
    RAW("two_lengths", POST "Content-Length: 1\r\nContent-Length: 40\r\n\r\n"
                            "x" SECOND),
    RAW("two_equal_lengths",
        POST "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx" SECOND),
    RAW("length_and_chunked", POST "Content-Length: 6\r\nTransfer-Encoding: "
                                   "chunked\r\n\r\n0\r\n\r\n" SECOND),
    RAW("chunked_and_length",
        POST "Transfer-Encoding: chunked\r\n"
             "Content-Length: 60\r\n\r\n0\r\n\r\n" SECOND),
    RAW("length_space_colon", POST "Content-Length : 50\r\n\r\n" SECOND),
    RAW("encoding_space_colon",
        POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SECOND),
    RAW("length_tab_colon", POST "Content-Length\t: 50\r\n\r\n" SECOND),
    RAW("gzip", POST "Transfer-Encoding: gzip\r\n\r\n" SECOND),
    RAW("gzip_chunked",
        POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" SECOND),
    RAW("chunked_gzip",
        POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" SECOND),
    RAW("chunked_twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding:"
                              " chunked\r\n\r\n0\r\n\r\n" SECOND),
    RAW("chunked_and_identity",
        POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
             "0\r\n\r\n" SECOND),
    RAW("xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n" SECOND),
    RAW("chunked_1_0", "POST /generate HTTP/1.0\r\n" HOST
                       "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SECOND),
    RAW("two_hosts", GET "Host: other\r\n\r\n" SECOND),
    RAW("no_host", "GET /health/live HTTP/1.1\r\n\r\n" SECOND),
    RAW("host_space", "GET /health/live HTTP/1.1\r\nHost: a b\r\n\r\n" SECOND),
    RAW("host_path", "GET /health/live HTTP/1.1\r\nHost: a/b\r\n\r\n" SECOND),
    RAW("length_plus", POST "Content-Length: +50\r\n\r\n" SECOND),
    RAW("length_minus", POST "Content-Length: -1\r\n\r\n" SECOND),
    RAW("length_hex", POST "Content-Length: 0x32\r\n\r\n" SECOND),
    RAW("length_letters", POST "Content-Length: 1a\r\n\r\nx" SECOND),
    RAW("length_list", POST "Content-Length: 1, 1\r\n\r\nx" SECOND),
    RAW("length_empty", POST "Content-Length: \r\n\r\n" SECOND),
    RAW("length_overflow",
        POST "Content-Length: 99999999999999999999999\r\n\r\n" SECOND),
    RAW("length_two_words", POST "Content-Length: 1 1\r\n\r\nx" SECOND),
    RAW("value_control", GET "A: b\001c\r\n\r\n" SECOND),
    RAW("value_nul", GET "A: b\0c\r\n\r\n" SECOND),
    RAW("value_bare_cr", GET "A: b\rc\r\n\r\n" SECOND),
    RAW("no_colon", GET "abc\r\n\r\n" SECOND),
    RAW("empty_name", GET ": b\r\n\r\n" SECOND),
    RAW("name_space", GET "A b: c\r\n\r\n" SECOND),
    RAW("folded", GET "A: b\r\n c\r\n\r\n" SECOND),
    RAW("first_line_folded",
        "GET /health/live HTTP/1.1\r\n " HOST HOST "\r\n" SECOND),
    RAW("bare_lf",
        "GET /health/live HTTP/1.1\nHost: localhost\nA: b\n\n" SECOND),
    RAW("method_bad", "GE(T /health/live HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("target_space", "GET /health/live x HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("target_no_slash", "GET health/live HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("target_nul", "GET /health/live\0x HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("target_high", "GET /health/\xc3\xa9 HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("target_fragment",
        "GET /health/live#x HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("version_2", "GET /health/live HTTP/2.0\r\n" HOST "\r\n" SECOND),
    RAW("version_junk", "GET /health/live HTTP/1.1x\r\n" HOST "\r\n" SECOND),
    RAW("version_none", "GET /health/live\r\n\r\n" SECOND),
    RAW("chunk_not_hex",
        POST "Transfer-Encoding: chunked\r\n\r\ng\r\nx\r\n0\r\n\r\n" SECOND),
    RAW("chunk_minus",
        POST "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n" SECOND),
    RAW("chunk_overflow", POST "Transfer-Encoding: chunked\r\n\r\n"
                               "fffffffffffffffff\r\nx\r\n0\r\n\r\n" SECOND),
    RAW("chunk_too_long",
        POST "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n" SECOND),
    /* Taken for right by the parser, which hands us the data alone; nginx 1.22
     * does the same.  No byte of it is read twice or by nobody.             */
    RAW("chunk_bare_lf", POST "Transfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n"),
};

/* Answered (once for each request in them), whatever with. */
static const struct raw sound[] = {
    RAW("plain", SECOND),
    RAW("pipelined", SECOND SECOND SECOND),
    RAW("body", POST "Content-Length: 1\r\n\r\nx" SECOND),
    RAW("chunks",
        POST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" SECOND),
    RAW("chunk_extension", POST
        "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n" SECOND),
    RAW("trailer", POST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
                        "A: b\r\n\r\n" SECOND),
    RAW("obs_text", GET "A: \xe9\r\n\r\n"),
    RAW("empty_value", GET "A:\r\nB: \r\n\r\n"),
    RAW("spaces_around", GET "A:  b  \r\nC:\td\t\r\n\r\n" SECOND),
    RAW("absolute",
        "GET http://localhost/health/live HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("query", "GET /health/live?a=b&c=%20d HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("head", "HEAD /health/live HTTP/1.1\r\n" HOST "\r\n" SECOND),
    RAW("options_star", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n" SECOND),
};

static int requests_in(const struct raw *raw)
{
    int n = 0;
    size_t i;

    for (i = 0; i + 10 < raw->n; i++)
        if (memcmp(raw->bytes + i, " HTTP/1.1\r", 10) == 0)
            n++;
    return n;
}

static void send_all(const struct raw *raw, int port, bool is_bytewise,
                     struct reply *reply)
{
    int fd = dial(port);
    size_t i;

    if (is_bytewise)
        for (i = 0; i < raw->n; i++)
            say(fd, raw->bytes + i, 1);
    else
        say(fd, raw->bytes, raw->n);
    hear(fd, reply, QUIET_MS, 0);
    (void)close(fd);
}

static bool is_refused(const struct reply *reply)
{
    return reply->is_closed && reply->n_right == 0;
}

static int score(int port, bool is_bytewise, struct reply *reply,
                 int *n_smuggled)
{
    size_t i;
    int right = 0;

    for (i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        send_all(&malformed[i], port, is_bytewise, reply);
        if (is_refused(reply))
            right++;
        else
            (void)printf("# %s%s: taken for right: status %d, %d answers, "
                         "%s\n",
                         malformed[i].name, is_bytewise ? " bytewise" : "",
                         reply->status, reply->n_final,
                         reply->is_closed ? "closed" : "kept open");
        if (reply->n_right > (reply->status < 400))
            (*n_smuggled)++;
    }
    return right;
}

static void test_sound(int port, bool is_bytewise, struct reply *reply)
{
    size_t i;

    for (i = 0; i < sizeof sound / sizeof *sound; i++) {
        char name[80];
        int wanted = requests_in(&sound[i]);

        (void)snprintf(name, sizeof name, "f_sound_%s%s", sound[i].name,
                       is_bytewise ? "_bytewise" : "");
        send_all(&sound[i], port, is_bytewise, reply);
        verdict(name, reply->n_final == wanted && !reply->is_closed,
                "wanted %d answers on an open line, got %d (first %d), %s",
                wanted, reply->n_final, reply->status,
                reply->is_closed ? "closed" : "open");
    }
}

void framing_tests(int port)
{
    const int n = (int)(sizeof malformed / sizeof *malformed);
    struct reply *reply = malloc(sizeof *reply);
    int smuggled = 0;
    int whole = score(port, false, reply, &smuggled);
    int bytewise = score(port, true, reply, &smuggled);

    (void)printf("# malformed requests refused: %d of %d whole, %d of %d in "
                 "single bytes; %d smuggled\n",
                 whole, n, bytewise, n, smuggled);
    verdict("f_malformed_refused", whole >= NEEDED_RIGHT,
            "wanted at least %d of %d, got %d", NEEDED_RIGHT, n, whole);
    verdict("f_malformed_refused_bytewise", bytewise >= NEEDED_RIGHT,
            "wanted at least %d of %d, got %d", NEEDED_RIGHT, n, bytewise);
    verdict("f_nothing_smuggled", smuggled == 0, "%d second answers", smuggled);
    test_sound(port, false, reply);
    test_sound(port, true, reply);
    free(reply);
}
