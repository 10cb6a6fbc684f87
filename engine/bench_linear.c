/* bench_linear.c - the linear layers of Stable Diffusion 1.5 in each precision.
 *
 * Precisions take turns, so that figures of one row compare.  Time is that of
 * the process on its CPUs, as for bench_conv.c, where they are measured alone.
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
#include "kernels/kernels.h"
#include "ops/conv2d.h"
#include "ops/linear_int8.h"

/* Tokens, inputs, outputs at 64x64: projections, feed-forward, and the keys and
 * values of a text. */
static const struct linear {
    uint32_t m, k, n;
} linears[] = {
    {4096, 320, 320},  {4096, 320, 960},  {4096, 320, 2560},  {4096, 1280, 320},
    {1024, 640, 640},  {1024, 640, 1920}, {1024, 640, 5120},  {1024, 2560, 640},
    {256, 1280, 1280}, {256, 1280, 3840}, {256, 1280, 10240}, {256, 5120, 1280},
    {64, 1280, 1280},  {64, 1280, 10240}, {77, 768, 640},
};

/* One precision's way of a row. */
struct variant {
    struct kernel_table k;
    const char *key;
    void (*run)(const struct op_ctx *, const void *);
    void *packed, *scratch;
    size_t n_scratch;
    double best;
};
#define N_VARIANTS 3

/* One row. */
struct linear_bench {
    struct conv2d_shape s;
    float *x, *y, *w;
    struct variant v[N_VARIANTS];
};

static void variants_init(struct variant v[N_VARIANTS],
                          const struct kernel_table *k)
{
    static const char *const keys[N_VARIANTS] = {"f32", "bf16", "int8"};

    for (size_t i = 0; i < N_VARIANTS; i++)
        v[i] = (struct variant){.k = *k, .key = keys[i], .run = conv2d_run};
    kernels_use_exact_operands(&v[0].k, k);
    kernels_use_bf16_operands(&v[1].k);
    kernels_use_int8(&v[2].k);
    v[2].run = linear_int8_run;
}

static enum unstir_status variant_pack(struct variant *v,
                                       const struct linear_bench *t,
                                       const struct bench_rows *b,
                                       struct unstir_error *err)
{
    uint32_t cin = t->s.c0, cout = t->s.cout;
    unsigned n_threads = pool_threads(b->pool);

    v->best = HUGE_VAL;
    if (v->run == conv2d_run) {
        v->n_scratch = conv2d_scratch(&v->k, n_threads, &t->s);
        TRY(alloc_aligned(&v->packed,
                          conv2d_packed_bytes(&v->k, cin, cout, 1, 1), 1, err));
        conv2d_pack(&v->k, v->packed, t->w, cin, cout, 1, 1);
    } else {
        v->n_scratch = linear_int8_scratch(&v->k, n_threads, &t->s);
        TRY(alloc_aligned(&v->packed,
                          linear_int8_packed_bytes(&v->k, cin, cout), 1, err));
        linear_int8_pack(&v->k, v->packed, t->w, cin, cout);
    }
    return alloc_aligned(&v->scratch, v->n_scratch, 1, err);
}

static enum unstir_status linear_init(struct linear_bench *t,
                                      const struct bench_rows *b,
                                      const struct linear *l,
                                      struct unstir_error *err)
{
    *t = (struct linear_bench){
        .s = {1, 1, l->m, l->k, 0, 1, l->m, l->n, 1, 1, 1, 0, 0, 1, l->m}};
    variants_init(t->v, &b->k);
    TRY(bench_rows_floats(&t->x, (size_t)l->m * l->k, err));
    TRY(bench_rows_floats(&t->y, (size_t)l->m * l->n, err));
    TRY(bench_rows_floats(&t->w, (size_t)l->n * l->k, err));
    for (size_t i = 0; i < N_VARIANTS; i++)
        TRY(variant_pack(&t->v[i], t, b, err));
    return UNSTIR_OK;
}

static void linear_fini(struct linear_bench *t)
{
    for (size_t i = 0; i < N_VARIANTS; i++) {
        alloc_free(t->v[i].packed);
        alloc_free(t->v[i].scratch);
    }
    alloc_free(t->x);
    alloc_free(t->y);
    alloc_free(t->w);
}

/* v[].best.  bench_rows_best() of each alone would not take turns. */
static void linear_time(struct linear_bench *t, const struct bench_rows *b)
{
    for (unsigned i = 0; i < (b->warmup + b->repeat) * N_VARIANTS; i++) {
        struct variant *v = &t->v[i % N_VARIANTS];
        struct op_ctx ctx = {&v->k, b->pool, v->scratch, v->n_scratch};
        double start = bench_rows_now(b), s;

        v->run(&ctx, &(struct conv2d_args){.s = t->s,
                                           .out_scale = 1,
                                           .x0 = t->x,
                                           .w = v->packed,
                                           .y = t->y});
        s = bench_rows_now(b) - start;
        if (i >= b->warmup * N_VARIANTS && s < v->best)
            v->best = s;
    }
}

static double linear_flop(const struct linear *l)
{
    return 2.0 * l->m * (double)l->k * l->n;
}

static void linear_tell(const struct bench_rows *b, const struct linear *l,
                        const struct linear_bench *t)
{
    json_open_object(b->json, NULL);
    json_put_int(b->json, "rows", l->m);
    json_put_int(b->json, "cin", l->k);
    json_put_int(b->json, "cout", l->n);
    for (size_t i = 0; i < N_VARIANTS; i++) {
        char key[32];

        (void)snprintf(key, sizeof key, "%s_cpu_ms", t->v[i].key);
        json_put_real(b->json, key, t->v[i].best * 1e3);
    }
    json_put_real(b->json, "int8_gops", linear_flop(l) / t->v[2].best * 1e-9);
    json_put_real(b->json, "int8_over_f32", t->v[0].best / t->v[2].best);
    json_put_real(b->json, "int8_over_bf16", t->v[1].best / t->v[2].best);
    json_close(b->json);
}

/* A row a precision. */
static void linear_put(const struct bench_rows *b, const struct linear *l,
                       const struct linear_bench *t)
{
    char shape[64];

    (void)snprintf(shape, sizeof shape, "%u rows %u->%u", l->m, l->k, l->n);
    for (size_t i = 0; i < N_VARIANTS; i++)
        bench_rows_put(b, "linear", shape, t->v[i].key, t->v[i].best,
                       linear_flop(l));
}

typedef void (*tell_fn)(const struct bench_rows *b, const struct linear *l,
                        const struct linear_bench *t);

static enum unstir_status linear_all(struct bench_rows *b, tell_fn tell,
                                     struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(linears); i++) {
        struct linear_bench t;
        enum unstir_status status = linear_init(&t, b, &linears[i], err);

        if (status == UNSTIR_OK) {
            linear_time(&t, b);
            tell(b, &linears[i], &t);
        }
        linear_fini(&t);
        TRY(status);
    }
    return UNSTIR_OK;
}

enum unstir_status bench_rows_linear(struct bench_rows *b,
                                     struct unstir_error *err)
{
    return linear_all(b, linear_put, err);
}

static enum unstir_status tell_all(struct bench_rows *b,
                                   struct unstir_error *err)
{
    return linear_all(b, linear_tell, err);
}

enum unstir_status
unstir_bench_linear(const struct unstir_bench_options *options, char **json,
                    struct unstir_error *err)
{
    static const bench_rows_fn part = tell_all;
    static const struct bench_rows_table table = {
        .what = "linear",
        .list = "layers",
        .clock = CLOCK_PROCESS_CPUTIME_ID,
        .parts = &part,
        .n_parts = 1,
    };

    return bench_rows_run(options, &table, json, err);
}
