/* bench_attention.c - the attention of Stable Diffusion at 512 pixels, of XL's
 * widest heads and of the autoencoder's middle.
 *
 * Time is that of the process on its CPUs, as for bench_conv.c, where it is
 * measured alone.  A multiply-add is two operations; the exponentials, one a
 * score, come on top of them.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "bench_rows.h"
#include "format/json.h"
#include "ops/attention.h"
#include "unstir_bench.h"

static const struct row {
    uint32_t heads, len_q, len_k, d;
} rows[] = {{8, 4096, 4096, 40},  {8, 1024, 1024, 80}, {8, 256, 256, 160},
            {8, 64, 64, 160},     {8, 4096, 77, 40},   {8, 1024, 77, 80},
            {10, 4096, 4096, 64}, {1, 4096, 4096, 512}};

/* q, k, v, o of one row. */
struct room {
    void *x[4], *scratch;
};

static enum unstir_status floats(void **out, size_t n, struct unstir_error *err)
{
    float *p;

    TRY(alloc_aligned(out, n, sizeof(float), err));
    p = *out;
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(i * 7919 % 251) / 125.0F - 1.0F;
    return UNSTIR_OK;
}

static enum unstir_status time_row(const struct bench_rows *b,
                                   const struct row *r, struct room *room,
                                   double *best, struct unstir_error *err)
{
    uint32_t ld = r->heads * r->d;
    struct attention_args a = {
        .n = 1,
        .heads = r->heads,
        .d = r->d,
        .len_q = r->len_q,
        .len_k = r->len_k,
        .ldq = ld,
        .ldk = ld,
        .ldv = ld,
        .ldo = ld,
        .scale = 1 / sqrtf((float)r->d),
    };
    size_t n_scratch = attention_scratch(&b->k, pool_threads(b->pool), &a);

    for (int i = 0; i < 4; i++)
        TRY(floats(&room->x[i], (size_t)ld * (i % 3 == 0 ? r->len_q : r->len_k),
                   err));
    TRY(alloc_aligned(&room->scratch, n_scratch, 1, err));
    a.q = room->x[0], a.k = room->x[1], a.v = room->x[2], a.o = room->x[3];
    *best = HUGE_VAL;
    for (unsigned i = 0; i < b->warmup + b->repeat; i++) {
        struct op_ctx ctx = {&b->k, b->pool, room->scratch, n_scratch};
        double start = bench_rows_now(b), t;

        attention_run(&ctx, &a);
        t = bench_rows_now(b) - start;
        if (i >= b->warmup && t < *best)
            *best = t;
    }
    return UNSTIR_OK;
}

enum unstir_status bench_rows_attention(struct bench_rows *b,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        double best = 0,
               flop = 4.0 * r->heads * r->len_q * (double)r->len_k * r->d;
        struct room room = {0};
        char shape[64];
        enum unstir_status status = time_row(b, r, &room, &best, err);

        for (int j = 0; j < 4; j++)
            alloc_free(room.x[j]);
        alloc_free(room.scratch);
        TRY(status);
        (void)snprintf(shape, sizeof shape, "%u x %u x %u, d %u", r->heads,
                       r->len_q, r->len_k, r->d);
        bench_rows_put(b, "attention", shape, "streaming", best, flop);
    }
    return UNSTIR_OK;
}

enum unstir_status
unstir_bench_attention(const struct unstir_bench_options *options, char **json,
                       struct unstir_error *err)
{
    static const bench_rows_fn part = bench_rows_attention;

    return bench_rows_run(options, "attention", CLOCK_PROCESS_CPUTIME_ID, &part,
                          1, json, err);
}
