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

/* One row: q, k, v, o. */
struct attention_bench {
    struct attention_args a;
    float *x[4];
    void *scratch;
    size_t n_scratch;
};

static enum unstir_status attention_init(struct attention_bench *t,
                                         const struct bench_rows *b,
                                         const struct row *r,
                                         struct unstir_error *err)
{
    uint32_t ld = r->heads * r->d;

    *t = (struct attention_bench){.a = {
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
                                  }};
    t->n_scratch = attention_scratch(&b->k, pool_threads(b->pool), &t->a);
    for (int i = 0; i < 4; i++)
        TRY(bench_rows_floats(
            &t->x[i], (size_t)ld * (i % 3 == 0 ? r->len_q : r->len_k), err));
    t->a.q = t->x[0], t->a.k = t->x[1], t->a.v = t->x[2], t->a.o = t->x[3];
    return alloc_aligned(&t->scratch, t->n_scratch, 1, err);
}

static void attention_fini(struct attention_bench *t)
{
    for (int i = 0; i < 4; i++)
        alloc_free(t->x[i]);
    alloc_free(t->scratch);
}

static void attention_once(const struct bench_rows *b, void *arg)
{
    const struct attention_bench *t = arg;

    attention_run(&(struct op_ctx){&b->k, b->pool, t->scratch, t->n_scratch},
                  &t->a);
}

enum unstir_status bench_rows_attention(struct bench_rows *b,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        double flop = 4.0 * r->heads * r->len_q * (double)r->len_k * r->d;
        struct attention_bench t;
        char shape[64];
        enum unstir_status status = attention_init(&t, b, r, err);

        (void)snprintf(shape, sizeof shape, "%u x %u x %u, d %u", r->heads,
                       r->len_q, r->len_k, r->d);
        if (status == UNSTIR_OK)
            bench_rows_put(b, "attention", shape, "streaming",
                           bench_rows_best(b, attention_once, &t), flop);
        attention_fini(&t);
        TRY(status);
    }
    return UNSTIR_OK;
}

enum unstir_status
unstir_bench_attention(const struct unstir_bench_options *options, char **json,
                       struct unstir_error *err)
{
    static const bench_rows_fn part = bench_rows_attention;
    static const struct bench_rows_table table = {
        .what = "attention",
        .list = "rows",
        .clock = CLOCK_PROCESS_CPUTIME_ID,
        .parts = &part,
        .n_parts = 1,
    };

    return bench_rows_run(options, &table, json, err);
}
