/* t_framing.c - requests whose end is in doubt are refused, others are not.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "framing.h"

#define N(text) text, sizeof(text) - 1

struct header_case {
    const char *what;
    const char *method, *target, *version;
    struct framing_header headers[4];
    bool is_right;
};

#define HOST_OK           \
    {                     \
        N("Host"), N("a") \
    }
static const struct header_case cases[] = {
    {"plain", "GET", "/", "HTTP/1.1", {HOST_OK}, true},
    {"no host 1.0", "GET", "/", "HTTP/1.0", {{0}}, true},
    {"no host 1.1", "GET", "/", "HTTP/1.1", {{0}}, false},
    {"two hosts", "GET", "/", "HTTP/1.1", {HOST_OK, HOST_OK}, false},
    {"host case", "GET", "/", "HTTP/1.1", {{N("hOST"), N("a:80")}}, true},
    {"host v6", "GET", "/", "HTTP/1.1", {{N("Host"), N("[::1]:80")}}, true},
    {"host v6 open", "GET", "/", "HTTP/1.1", {{N("Host"), N("[::1")}}, false},
    {"host space", "GET", "/", "HTTP/1.1", {{N("Host"), N("a b")}}, false},
    {"host slash", "GET", "/", "HTTP/1.1", {{N("Host"), N("a/b")}}, false},
    {"host at", "GET", "/", "HTTP/1.1", {{N("Host"), N("a@b")}}, false},
    {"host port", "GET", "/", "HTTP/1.1", {{N("Host"), N("a:8x")}}, false},
    {"host comma", "GET", "/", "HTTP/1.1", {{N("Host"), N("a,b")}}, false},
    {"length",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("5")}},
     true},
    {"length twice",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("5")}, {N("content-length"), N("5")}},
     false},
    {"length list",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("5, 5")}},
     false},
    {"length plus",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("+5")}},
     false},
    {"length minus",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("-5")}},
     false},
    {"length hex",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("0x5")}},
     false},
    {"length empty",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("")}},
     false},
    {"length huge",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Content-Length"), N("99999999999999999999")}},
     false},
    {"chunked",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Transfer-Encoding"), N("Chunked")}},
     true},
    {"chunked 1.0",
     "POST",
     "/",
     "HTTP/1.0",
     {HOST_OK, {N("Transfer-Encoding"), N("chunked")}},
     false},
    {"gzip",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Transfer-Encoding"), N("gzip, chunked")}},
     false},
    {"chunked twice",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK,
      {N("Transfer-Encoding"), N("chunked")},
      {N("Transfer-Encoding"), N("chunked")}},
     false},
    {"both",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK,
      {N("Transfer-Encoding"), N("chunked")},
      {N("Content-Length"), N("5")}},
     false},
    {"space before colon",
     "GET",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Foo "), N("5")}},
     false},
    {"empty name", "GET", "/", "HTTP/1.1", {HOST_OK, {N(""), N("5")}}, false},
    {"control",
     "GET",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Foo"), N("a\001b")}},
     false},
    {"NUL", "GET", "/", "HTTP/1.1", {HOST_OK, {N("Foo"), N("a\0b")}}, false},
    {"tab and obs-text",
     "GET",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Foo"), N("a\tb\xe9")}},
     true},
    {"expect",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Expect"), N("100-Continue")}},
     true},
    {"expect else",
     "POST",
     "/",
     "HTTP/1.1",
     {HOST_OK, {N("Expect"), N("200-ok")}},
     false},
    {"method", "GE(T", "/", "HTTP/1.1", {HOST_OK}, false},
    {"method odd", "PURGE", "/", "HTTP/1.1", {HOST_OK}, true},
    {"no slash", "GET", "x", "HTTP/1.1", {HOST_OK}, false},
    {"empty", "GET", "", "HTTP/1.1", {HOST_OK}, false},
    {"star", "OPTIONS", "*", "HTTP/1.1", {HOST_OK}, true},
    {"star GET", "GET", "*", "HTTP/1.1", {HOST_OK}, false},
    {"fragment", "GET", "/a#b", "HTTP/1.1", {HOST_OK}, false},
    {"high byte", "GET", "/\xc3\xa9", "HTTP/1.1", {HOST_OK}, false},
    {"absolute", "GET", "http://h:1/x", "HTTP/1.1", {HOST_OK}, true},
    {"absolute bare", "GET", "http://h", "HTTP/1.1", {HOST_OK}, false},
    {"absolute no host", "GET", "http:///x", "HTTP/1.1", {HOST_OK}, false},
    {"version 2", "GET", "/", "HTTP/2.0", {HOST_OK}, false},
    {"version 1.2", "GET", "/", "HTTP/1.2", {HOST_OK}, false},
};

static void test_heads(void **state)
{
    size_t i;

    (void)state;
    for (i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct header_case *c = &cases[i];
        struct framing framing = {.method = c->method,
                                  .target = c->target,
                                  .version = c->version,
                                  .headers = c->headers};
        enum error_code code;
        const char *why;

        while (framing.n_headers < 4 && c->headers[framing.n_headers].name)
            framing.n_headers++;
        why = framing_check(&framing, &code);
        if ((why == NULL) != c->is_right)
            fail_msg("%s: wanted %s, got %s", c->what,
                     c->is_right ? "right" : "refused", why ? why : "right");
        if (why && error_info(code)->status / 100 != 4 &&
            code != ERROR_VERSION_NOT_SUPPORTED)
            fail_msg("%s: status %u", c->what, error_info(code)->status);
    }
}

static void test_what_comes_out(void **state)
{
    struct framing_header headers[] = {HOST_OK,
                                       {N("Content-Length"), N("0012")}};
    struct framing framing = {.method = "POST",
                              .target = "http://other:81/p?q",
                              .version = "HTTP/1.1",
                              .headers = headers,
                              .n_headers = 2};
    enum error_code code;

    (void)state;
    assert_null(framing_check(&framing, &code));
    assert_string_equal(framing.path, "/p?q");
    assert_int_equal(framing.n_host, 8);
    assert_memory_equal(framing.host, "other:81", 8);
    assert_true(framing.has_length);
    assert_int_equal(framing.length, 12);
    assert_false(framing.is_chunked);
}

static void test_hosts(void **state)
{
    static const struct {
        const char *host;
        bool with_names, with_keys, wanted;
    } rows[] = {
        {"localhost", false, false, true},
        {"LOCALHOST:8080", false, false, true},
        {"localhost.", false, false, true},
        {"localhost.evil.example", false, false, false},
        {"127.0.0.1:80", false, false, true},
        {"192.168.1.7", false, false, true},
        {"127.0.0.1.nip.io", false, false, false},
        {"[::1]:8080", false, false, true},
        {"evil.example", false, false, false},
        {"evil.example", false, true, true},
        {"paint.local:80", true, false, true},
        {"evil.example", true, false, false},
        {"evil.example", true, true, false},
        {"", false, false, false},
    };
    char *names[] = {(char *)"paint.local"};
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool got =
            framing_host_is_mine(rows[i].host, strlen(rows[i].host), names,
                                 rows[i].with_names ? 1 : 0, rows[i].with_keys);

        if (got != rows[i].wanted)
            fail_msg("host \"%s\": wanted %d, got %d", rows[i].host,
                     rows[i].wanted, got);
    }
}

static void test_decoding(void **state)
{
    static const struct {
        const char *text;
        bool is_query;
        const char *wanted; /* NULL: refused */
    } rows[] = {
        {"/a%20b", false, "/a b"}, {"a+b", false, "a+b"},
        {"a+b", true, "a b"},      {"%c3%A9", false, "\xc3\xa9"},
        {"%00", false, NULL},      {"%00", true, NULL},
        {"%0a", false, NULL},      {"%0a", true, "\n"},
        {"%", false, NULL},        {"%4", false, NULL},
        {"%4g", false, NULL},      {"%41", false, "A"},
        {"", false, ""},
    };
    size_t i;

    (void)state;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[32] = "";
        bool got = framing_decode(rows[i].text, strlen(rows[i].text),
                                  rows[i].is_query, out);

        if (got != (rows[i].wanted != NULL) ||
            (got && strcmp(out, rows[i].wanted) != 0))
            fail_msg("\"%s\": wanted %s, got %s", rows[i].text,
                     rows[i].wanted ? rows[i].wanted : "refused",
                     got ? out : "refused");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_what_comes_out),
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_decoding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
