/* t_artifacts.c - pictures by hash, previews by budget, and the hash itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "answers.h"
#include "artifacts.h"
#include "buf.h"
#include "previews.h"
#include "sha256.h"

/* ---------------------------------------------------------------- SHA-256 -- */

/* The examples of FIPS 180-4. */
static void test_sha256(void **state)
{
    static const struct {
        char byte;
        size_t n;
        const char *text, *wanted;
    } rows[] = {
        {0, 0, "",
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {0, 0, "abc",
         "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {0, 0, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {'a', 1000000, NULL,
         "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = rows[i].text ? strlen(rows[i].text) : rows[i].n;
        char *bytes = mem_zero(n + 1, 1);
        uint8_t digest[SHA256_BYTES];
        char hex[SHA256_HEX_SIZE];

        assert_non_null(bytes);
        if (rows[i].text)
            memcpy(bytes, rows[i].text, n);
        else
            memset(bytes, rows[i].byte, n);
        sha256(digest, bytes, n);
        sha256_hex(hex, digest);
        assert_string_equal(hex, rows[i].wanted);
        mem_free(bytes);
    }
}

/* -------------------------------------------------------------- artifacts -- */

static int n_released;

static void release(void *bytes)
{
    n_released++;
    mem_free(bytes);
}

/* An artifact of n bytes, all `fill`; only the store holds its blob. */
static struct artifact *put(struct artifacts *a, uint8_t fill, size_t n,
                            int64_t expires_ms)
{
    uint8_t *bytes = mem_zero(n, 1), digest[SHA256_BYTES];
    struct artifact *artifact;
    struct blob *blob;

    assert_non_null(bytes);
    memset(bytes, fill, n);
    sha256(digest, bytes, n);
    blob = blob_new(bytes, n, release);
    artifact = artifacts_put(a, digest, blob, "image/png", expires_ms);
    blob_drop(blob);
    assert_non_null(artifact);
    return artifact;
}

static void test_found_by_hash_once(void **state)
{
    struct artifact *first, *again;
    struct artifacts a;
    char upper[SHA256_HEX_SIZE];

    (void)state;
    n_released = 0;
    assert_true(artifacts_init(&a, 1000, NULL));
    first = put(&a, 1, 100, 5000);
    again = put(&a, 1, 100, 9000);
    assert_ptr_equal(first, again);
    assert_int_equal(a.n_bytes, 100);
    assert_int_equal(first->expires_ms, 9000); /* the later one */
    (void)put(&a, 1, 100, 7000);
    assert_int_equal(first->expires_ms, 9000);
    assert_ptr_equal(artifacts_find(&a, first->hex), first);
    memcpy(upper, first->hex, sizeof upper);
    for (char *p = upper; *p; p++)
        if (*p >= 'a' && *p <= 'f')
            *p = (char)(*p - 32);
    assert_null(artifacts_find(&a, upper));
    assert_null(artifacts_find(&a, ""));
    assert_null(artifacts_find(&a, "00"));
    assert_false(artifacts_is_gone(&a, first->hex));
    artifacts_fini(&a);
    assert_int_equal(n_released, 3); /* the two doubles at once, then the one */
}

static void test_budget_drops_the_oldest(void **state)
{
    struct artifacts a;
    char hex1[SHA256_HEX_SIZE], hex2[SHA256_HEX_SIZE];

    (void)state;
    assert_true(artifacts_init(&a, 250, NULL));
    memcpy(hex1, put(&a, 1, 100, 9000)->hex, sizeof hex1);
    memcpy(hex2, put(&a, 2, 100, 9000)->hex, sizeof hex2);
    (void)put(&a, 1, 100, 9000); /* used again: now 2 is the oldest */
    (void)put(&a, 3, 100, 9000);
    assert_non_null(artifacts_find(&a, hex1));
    assert_null(artifacts_find(&a, hex2));
    assert_true(artifacts_is_gone(&a, hex2));
    assert_int_equal(a.n_bytes, 200);
    assert_int_equal(a.n_evicted, 1);
    /* One above the budget stays, alone: its client is waiting for it. */
    (void)put(&a, 4, 1000, 9000);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.n_bytes, 1000);
    artifacts_fini(&a);
}

static void test_expiry(void **state)
{
    struct artifacts a;
    char hex[SHA256_HEX_SIZE];

    (void)state;
    assert_true(artifacts_init(&a, 1000, NULL));
    memcpy(hex, put(&a, 1, 10, 5000)->hex, sizeof hex);
    (void)put(&a, 2, 10, 6000);
    artifacts_expire(&a, 4999);
    assert_int_equal(a.n, 2);
    artifacts_expire(&a, 5000);
    assert_int_equal(a.n, 1);
    assert_null(artifacts_find(&a, hex));
    assert_true(artifacts_is_gone(&a, hex));
    artifacts_fini(&a);
}

/* A reply that is being sent keeps the bytes. */
static void test_blob_outlives_its_artifact(void **state)
{
    struct artifact *artifact;
    struct artifacts a;
    struct blob *held;

    (void)state;
    assert_true(artifacts_init(&a, 1000, NULL));
    artifact = put(&a, 7, 10, 5000);
    n_released = 0;
    held = blob_hold(artifact->blob);
    artifacts_remove(&a, artifact);
    assert_int_equal(n_released, 0);
    assert_int_equal(held->bytes[9], 7);
    blob_drop(held);
    assert_int_equal(n_released, 1);
    artifacts_fini(&a);
}

static int n_cut;

static void cut(void *user)
{
    (void)user;
    n_cut++;
}

/* What is read when the store lets it go is an answer like others, once; those
 * who read what has no room are cut off. */
static void test_dropped_while_it_is_read(void **state)
{
    enum { LARGE = 100 << 10 };
    struct answers answers = {.room.max_bytes = 5 * LARGE / 2};
    struct blob_reader readers[2][2], small = {.cut = cut}, late = {.cut = cut};
    struct artifacts a;

    (void)state;
    n_cut = n_released = 0;
    assert_true(artifacts_init(&a, 2 * LARGE, &answers));
    for (uint8_t i = 0; i < 2; i++)
        for (int k = 0; k < 2; k++) {
            readers[i][k].cut = cut;
            blob_read(put(&a, i, LARGE, 5000)->blob, &readers[i][k]);
        }
    n_released = 0;
    (void)put(&a, 2, LARGE, 5000);
    assert_int_equal(a.n_bytes, 2 * LARGE);
    assert_int_equal(answers.room.n_bytes, LARGE);
    blob_read(put(&a, 3, LARGE, 5000)->blob, &late);
    assert_int_equal(answers.room.n_bytes, 2 * LARGE);
    assert_int_equal(n_cut + n_released, 0);
    blob_read(put(&a, 4, 1000, 5000)->blob, &small);
    (void)put(&a, 5, 2 * LARGE, 5000); /* all others go                      */
    assert_int_equal(a.n_bytes, 2 * LARGE);
    assert_int_equal(n_cut, 1); /* late: there was no room for a third       */
    assert_int_equal(n_released, 1); /* 2, which nobody read       */
    assert_int_equal(answers.room.n_bytes, 2 * LARGE); /* a small one is none */
    blob_read_end(&late);
    blob_read_end(&small);
    blob_read_end(&readers[0][0]);
    assert_int_equal(answers.room.n_bytes, 2 * LARGE);
    blob_read_end(&readers[0][1]);
    assert_int_equal(answers.room.n_bytes, LARGE);
    blob_read_end(&readers[1][0]);
    blob_read_end(&readers[1][1]);
    assert_int_equal(answers.room.n_bytes, 0);
    assert_int_equal(n_released, 5); /* all but the last                     */
    artifacts_fini(&a);
}

/* --------------------------------------------------------------- previews -- */

#define W          4u
#define H          4u
#define VIEW_BYTES (W * H)

static void init(struct previews *p, struct preview_budget *budget,
                 uint32_t n_images, uint32_t n_steps)
{
    assert_true(previews_init(p, budget, n_images, n_steps));
    p->width = W;
    p->height = H;
    p->channels = 1;
}

static void take(struct previews *p, uint32_t image, uint32_t step)
{
    uint8_t *views[2] = {mem_zero(VIEW_BYTES, 1), mem_zero(VIEW_BYTES, 1)};

    views[0][0] = (uint8_t)step;
    views[1][0] = (uint8_t)(100 + step);
    previews_take(p, image, step, views);
}

static enum preview_found find(const struct previews *p, uint32_t step)
{
    const uint8_t *pixels;

    return previews_find(p, 0, step, 0, &pixels);
}

static void test_every_step_is_kept(void **state)
{
    struct preview_budget budget;
    const uint8_t *pixels;
    struct previews p;

    (void)state;
    preview_budget_init(&budget, 1 << 20);
    init(&p, &budget, 2, 10);
    assert_int_equal(find(&p, 0), PREVIEW_NEVER);
    for (uint32_t step = 0; step <= 10; step++)
        take(&p, 1, step);
    assert_int_equal(find(&p, 3), PREVIEW_NEVER); /* of picture 0 */
    for (uint32_t step = 0; step <= 10; step++)
        for (unsigned view = 0; view < 2; view++) {
            assert_int_equal(previews_find(&p, 1, step, view, &pixels),
                             PREVIEW_FOUND);
            assert_int_equal(pixels[0], 100 * view + step);
        }
    assert_int_equal(previews_find(&p, 1, 11, 0, &pixels), PREVIEW_NEVER);
    assert_int_equal(previews_find(&p, 2, 1, 0, &pixels), PREVIEW_NEVER);
    previews_fini(&p);
    assert_int_equal(budget.n_bytes, 0);
}

static void test_policies(void **state)
{
    struct preview_budget budget;
    struct previews p;

    (void)state;
    preview_budget_init(&budget, 1 << 20);
    init(&p, &budget, 1, 10);
    p.keeps_all = false;
    for (uint32_t step = 0; step <= 5; step++)
        take(&p, 0, step);
    assert_int_equal(find(&p, 5), PREVIEW_FOUND);
    assert_int_equal(find(&p, 4), PREVIEW_DROPPED);
    assert_int_equal(find(&p, 6), PREVIEW_NEVER);
    previews_fini(&p);

    init(&p, &budget, 1, 10);
    p.every = 4;
    for (uint32_t step = 0; step <= 10; step++)
        take(&p, 0, step);
    assert_int_equal(find(&p, 0), PREVIEW_FOUND);
    assert_int_equal(find(&p, 5), PREVIEW_NEVER);
    assert_int_equal(find(&p, 8), PREVIEW_FOUND);
    assert_int_equal(find(&p, 10), PREVIEW_FOUND); /* the last, always */
    previews_fini(&p);
    assert_int_equal(budget.n_bytes, 0);
}

/* The job finished first goes first; a running one gives up its own oldest
 * steps only when no finished one has any. */
static void test_budget_order(void **state)
{
    size_t table = 11 * 2 * sizeof(uint8_t *);
    struct preview_budget budget;
    struct previews a, b, c;

    (void)state;
    preview_budget_init(&budget, 3 * table + 14 * 2 * VIEW_BYTES);
    init(&a, &budget, 1, 10);
    init(&b, &budget, 1, 10);
    init(&c, &budget, 1, 10);
    for (uint32_t step = 0; step < 5; step++) {
        take(&a, 0, step);
        take(&b, 0, step);
    }
    previews_finish(&b);
    previews_finish(&a);
    for (uint32_t step = 0; step < 5; step++)
        take(&c, 0, step); /* the 15th step is too many */
    assert_int_equal(find(&b, 2), PREVIEW_DROPPED);
    assert_int_equal(find(&a, 2), PREVIEW_FOUND);
    assert_int_equal(find(&c, 0), PREVIEW_FOUND);
    budget.max_bytes = 3 * 2 * VIEW_BYTES + table;
    take(&c, 0, 5);
    assert_int_equal(find(&a, 2), PREVIEW_DROPPED);
    assert_int_equal(find(&c, 5), PREVIEW_FOUND);
    assert_int_equal(find(&c, 3), PREVIEW_FOUND);
    assert_int_equal(find(&c, 2), PREVIEW_DROPPED);
    budget.max_bytes = 0; /* the newest stays, whatever the budget */
    take(&c, 0, 6);
    assert_int_equal(find(&c, 6), PREVIEW_FOUND);
    assert_int_equal(find(&c, 5), PREVIEW_DROPPED);
    previews_fini(&a);
    previews_fini(&b);
    previews_fini(&c);
    assert_int_equal(budget.n_bytes, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_found_by_hash_once),
        cmocka_unit_test(test_budget_drops_the_oldest),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_blob_outlives_its_artifact),
        cmocka_unit_test(test_dropped_while_it_is_read),
        cmocka_unit_test(test_every_step_is_kept),
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_budget_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
