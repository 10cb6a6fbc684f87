/* t_answers.c - the room that large answers share, and what a problem says.
 *
 * Answers of exchanges without connections: nobody takes them, so what one
 * holds it keeps until it is freed.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "exchange.h"

#define ROOM  (300u << 10)
#define LARGE (200u << 10)

static char large[LARGE];

static void wake(struct exchange *x)
{
    (void)x;
}

static struct exchange *exchange_new(struct answers *answers)
{
    struct exchange *x = mem_zero(1, sizeof *x);

    assert_non_null(x);
    x->answers = answers;
    x->wake = wake;
    x->state = EXCHANGE_HANDLING;
    x->request.exchange = x;
    x->request.id = "req_x";
    x->request.arena = mem_arena_new(1u << 20);
    assert_non_null(x->request.arena);
    return x;
}

static const char *header(const struct exchange *x, const char *name)
{
    for (size_t i = 0; i < x->n_headers; i++)
        if (strcasecmp(x->headers[i].name, name) == 0)
            return x->headers[i].value;
    return NULL;
}

static void test_budget(void **state)
{
    static const struct {
        size_t other, held, wanted, after;
        bool fits;
    } rows[] = {
        {0, 0, 100, 100, true},   {0, 0, 500, 500, true},
        {0, 500, 900, 900, true}, {1, 0, 99, 99, true},
        {1, 0, 100, 0, false},    {60, 40, 41, 40, false},
        {60, 40, 40, 40, true},   {60, 40, 0, 0, true},
        {500, 0, 1, 0, false},    {500, 200, 100, 100, true},
        {500, 0, 0, 0, true},     {1, 0, SIZE_MAX, 0, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct budget b = {.n_bytes = rows[i].other + rows[i].held,
                           .max_bytes = 100};
        size_t held = rows[i].held;

        print_message("row %zu\n", i);
        assert_int_equal(budget_hold(&b, &held, rows[i].wanted), rows[i].fits);
        assert_int_equal(held, rows[i].after);
        assert_int_equal(b.n_bytes, rows[i].other + rows[i].after);
    }
}

/* The second of two large answers finds no room; small ones always do. */
static void test_room(void **state)
{
    struct answers answers = {.room.max_bytes = ROOM};
    struct exchange *first = exchange_new(&answers);
    struct exchange *second = exchange_new(&answers);
    struct exchange *small = exchange_new(&answers);

    (void)state;
    reply_bytes(&first->request, 200, "image/png", large, LARGE);
    assert_int_equal(first->status, 200);
    assert_int_equal(answers.room.n_bytes, LARGE);
    assert_false(reply_has_room(&second->request, LARGE));
    assert_int_equal(second->status, 503);
    assert_string_equal(header(second, "Retry-After"), "1");
    reply_bytes(&small->request, 200, "image/png", large, SMALL_ANSWER_BYTES);
    assert_int_equal(small->status, 200);
    exchange_free(second);
    second = exchange_new(&answers);
    exchange_free(first);
    assert_int_equal(answers.room.n_bytes, 0);
    assert_true(reply_has_room(&second->request, LARGE));
    assert_int_equal(answers.room.n_bytes, LARGE);
    reply_bytes(&second->request, 200, "image/png", large, 10);
    assert_int_equal(answers.room.n_bytes, 0);
    exchange_free(second);
    exchange_free(small);
    assert_int_equal(answers.n_problems[ERROR_NO_MEMORY], 1);
}

/* A stream that finds no room takes nothing, not a part of it, and goes on when
 * there is some. */
static void test_stream(void **state)
{
    struct answers answers = {.room.max_bytes = ROOM};
    struct exchange *other = exchange_new(&answers);
    struct exchange *x = exchange_new(&answers);
    const struct reply_stream stream = {.status = 200,
                                        .content_type = "text/event-stream",
                                        .limit_bytes = 8u << 20};

    (void)state;
    reply_bytes(&other->request, 200, "image/png", large, LARGE);
    reply_stream(&x->request, &stream);
    assert_true(stream_write(&x->request, "id: 1\n", 6));
    assert_false(stream_reserve(&x->request, LARGE));
    assert_false(stream_write(&x->request, large, LARGE));
    assert_int_equal(stream_pending(&x->request), 6);
    assert_true(stream_write(&x->request, "\n", 1));
    exchange_free(other);
    assert_true(stream_reserve(&x->request, LARGE));
    assert_true(stream_write(&x->request, large, LARGE));
    assert_true(answers.room.n_bytes >= LARGE);
    while (stream_pending(&x->request) > 0)
        assert_true(exchange_take(x, large, sizeof large) > 0);
    assert_int_equal(answers.room.n_bytes, 0);
    assert_true(stream_write(&x->request, large, LARGE));
    exchange_free(x);
    assert_int_equal(answers.room.n_bytes, 0);
}

/* A problem says nothing of the thing that it stands for. */
static void test_problem(void **state)
{
    static const struct {
        enum error_code code;
        const char *retry_after;
    } rows[] = {{ERROR_NO_MEMORY, "1"},
                {ERROR_LOADING, "1"},
                {ERROR_TOO_MANY_STREAMS, "1"},
                {ERROR_BAD_RANGE, NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answers answers = {.room.max_bytes = ROOM};
        struct exchange *x = exchange_new(&answers);

        reply_header(&x->request, "ETag", "\"x\"");
        reply_header(&x->request, "Accept-Ranges", "bytes");
        reply_header(&x->request, "Cache-Control", "private, immutable");
        reply_header(&x->request, "X-Job-Id", "job_x");
        reply_header(&x->request, "Content-Location", "/v1/artifacts/x");
        reply_error(&x->request, rows[i].code, "no");
        exchange_finish_headers(x);
        assert_null(header(x, "ETag"));
        assert_null(header(x, "Accept-Ranges"));
        assert_null(header(x, "Content-Location"));
        assert_string_equal(header(x, "Cache-Control"), "no-store");
        assert_string_equal(header(x, "X-Job-Id"), "job_x");
        if (rows[i].retry_after)
            assert_string_equal(header(x, "Retry-After"), rows[i].retry_after);
        else
            assert_null(header(x, "Retry-After"));
        assert_int_equal(answers.n_problems[rows[i].code], 1);
        exchange_free(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_budget), cmocka_unit_test(test_room),
        cmocka_unit_test(test_stream), cmocka_unit_test(test_problem)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
