/* bench.c - how fast kernels and machine are.
 *
 * The least of several runs is reported: on a shared machine everything else
 * only adds.
 *
 * SPDX-License-Identifier: MIT
 */
#include "unstir_bench.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "bench_peak.h"
#include "bench_rows.h"
#include "format/json.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d.h"

#define DEFAULT_REPEAT 5u

double bench_rows_now(const struct bench_rows *b)
{
    struct timespec t;
    (void)clock_gettime(b->clock, &t); /* cannot fail on Linux */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum unstir_status bench_init(struct bench_rows *b,
                                     const struct unstir_bench_options *o,
                                     struct unstir_error *err)
{
    *b = (struct bench_rows){.repeat = o->repeat ? o->repeat : DEFAULT_REPEAT,
                             .warmup = o->warmup,
                             .clock = CLOCK_MONOTONIC};
    static const enum kernel_operands operands[] = {
        [UNSTIR_PRECISION_AUTO] = KERNEL_OPERANDS_ANY,
        [UNSTIR_PRECISION_F32] = KERNEL_OPERANDS_F32,
        [UNSTIR_PRECISION_BF16] = KERNEL_OPERANDS_BF16,
        [UNSTIR_PRECISION_INT8] = KERNEL_OPERANDS_INT8,
    };
    struct kernel_wish wish = {.isa = o->isa,
                               .operands = operands[o->precision]};
    const char *refused;
    if (!kernels_choose(&b->k, &wish, &refused))
        return error_field(err, "isa",
                           "\"%s\" is unknown or this CPU cannot run it",
                           o->isa ? o->isa : "best");
    TRY(pool_new_placed(&b->pool, o->n_threads, 0, o->pin, err));
    return json_writer_new(&b->json, err);
}

static void bench_fini(struct bench_rows *b)
{
    pool_free(b->pool);
    json_writer_free(b->json);
}

static enum unstir_status bench_finish(struct bench_rows *b, char **json,
                                       struct unstir_error *err)
{
    struct json_writer *w = b->json;
    b->json = NULL; /* json_finish ends it in every case */
    return json_finish(json, w, false, err);
}

void bench_rows_put(const struct bench_rows *b, const char *kernel,
                    const char *shape, const char *algorithm, double seconds,
                    double flop)
{
    double gflops = flop / seconds * 1e-9;

    json_open_object(b->json, NULL);
    json_put_string(b->json, "kernel", kernel);
    json_put_string(b->json, "shape", shape);
    json_put_string(b->json, "algorithm", algorithm);
    json_put_real(b->json, "ms", seconds * 1e3);
    json_put_real(b->json, "gflops", gflops);
    if (b->peak_gflops > 0)
        json_put_real(b->json, "share_of_peak", gflops / b->peak_gflops);
    else
        json_put_null(b->json, "share_of_peak");
    json_close(b->json);
}

/* -- convolutions ---------------------------------------------------------- */

struct conv_row {
    uint32_t n, size, cin, cout, k, stride;
};

/* What an evaluation of the CIFAR-10 DDPM and a training step of a 28 x 28
 * network spend their time on. */
static const struct conv_row conv_rows[] = {
    {1, 32, 3, 128, 3, 1},   {1, 32, 128, 128, 3, 1}, {1, 32, 256, 128, 3, 1},
    {1, 16, 256, 256, 3, 1}, {1, 16, 512, 256, 3, 1}, {1, 8, 256, 256, 3, 1},
    {1, 4, 256, 256, 3, 1},  {1, 4, 512, 256, 3, 1},  {1, 32, 128, 128, 3, 2},
    {1, 16, 256, 256, 1, 1}, {1, 32, 128, 3, 3, 1},   {128, 28, 32, 32, 3, 1},
    {128, 28, 64, 32, 3, 1}, {128, 14, 64, 64, 3, 1}, {128, 14, 128, 64, 3, 1},
    {128, 7, 64, 64, 3, 1},  {128, 7, 96, 96, 3, 1},  {128, 28, 1, 32, 3, 1},
    {128, 28, 32, 1, 3, 1},  {128, 28, 32, 32, 3, 2}, {128, 14, 128, 64, 1, 1},
};

enum conv_what { CONV_FORWARD, CONV_BWD_DATA, CONV_BWD_WEIGHTS };
static const char *const conv_names[] = {"conv2d", "conv2d_bwd_data",
                                         "conv2d_bwd_weights"};

struct conv_bench {
    struct conv2d_shape s;
    float *x, *y, *w, *dw, *packed, *adjoint;
    unsigned char *scratch;
    size_t scratch_bytes;
};

static struct conv2d_shape conv_shape(const struct conv_row *r)
{
    uint32_t out = (r->size + r->stride - 1) / r->stride;
    return (struct conv2d_shape){.n = r->n,
                                 .h = r->size,
                                 .w = r->size,
                                 .c0 = r->cin,
                                 .up_h = r->size,
                                 .up_w = r->size,
                                 .cout = r->cout,
                                 .kh = r->k,
                                 .kw = r->k,
                                 .stride = r->stride,
                                 .pad_t = r->k / 2,
                                 .pad_l = r->k / 2,
                                 .oh = out,
                                 .ow = out};
}

static enum unstir_status floats(float **out, size_t n,
                                 struct unstir_error *err)
{
    *out = NULL;
    TRY(alloc_aligned(out, n, sizeof(float), err));
    for (size_t i = 0; i < n; i++)
        (*out)[i] = (float)(i % 17) * 0.125f - 1.0f;
    return UNSTIR_OK;
}

static enum unstir_status conv_bench_init(struct conv_bench *c,
                                          const struct bench_rows *b,
                                          const struct conv_row *r,
                                          struct unstir_error *err)
{
    const struct kernel_table *k = &b->k;
    unsigned n_threads = pool_threads(b->pool);
    struct conv2d_shape s = conv_shape(r);
    size_t n_w = (size_t)s.cout * s.c0 * s.kh * s.kw, sizes[3];
    *c = (struct conv_bench){.s = s};
    TRY(floats(&c->x, (size_t)s.n * s.h * s.w * s.c0, err));
    TRY(floats(&c->y, (size_t)s.n * s.oh * s.ow * s.cout, err));
    TRY(floats(&c->w, n_w, err));
    TRY(floats(&c->dw, n_w, err));
    TRY(floats(&c->packed, conv2d_packed_bytes(k, s.c0, s.cout, s.kh, s.kw) / 4,
               err));
    TRY(floats(&c->adjoint,
               conv2d_packed_bytes(k, s.cout, s.c0, s.kh, s.kw) / 4, err));
    sizes[0] = conv2d_scratch(k, n_threads, &s);
    sizes[1] = conv2d_bwd_data_scratch(k, n_threads, &s);
    sizes[2] = conv2d_bwd_weights_scratch(k, n_threads, &s);
    for (unsigned i = 0; i < 3; i++)
        if (sizes[i] > c->scratch_bytes)
            c->scratch_bytes = sizes[i];
    TRY(alloc_aligned(&c->scratch, c->scratch_bytes, 1, err));
    conv2d_pack(k, c->packed, c->w, s.c0, s.cout, s.kh, s.kw);
    conv2d_pack_adjoint(k, c->adjoint, c->w, s.c0, s.cout, s.kh, s.kw);
    return UNSTIR_OK;
}

static void conv_bench_fini(struct conv_bench *c)
{
    alloc_free(c->x);
    alloc_free(c->y);
    alloc_free(c->w);
    alloc_free(c->dw);
    alloc_free(c->packed);
    alloc_free(c->adjoint);
    alloc_free(c->scratch);
}

static void conv_once(const struct bench_rows *b, struct conv_bench *c,
                      enum conv_what what)
{
    struct op_ctx ctx = {&b->k, b->pool, c->scratch, c->scratch_bytes};
    switch (what) {
    case CONV_FORWARD:
        conv2d_run(&ctx, &(struct conv2d_args){.s = c->s,
                                               .out_scale = 1.0f,
                                               .x0 = c->x,
                                               .w = c->packed,
                                               .y = c->y});
        break;
    case CONV_BWD_DATA:
        conv2d_bwd_data(&ctx, &(struct conv2d_bwd_data_args){
                                  c->s, false, c->adjoint, c->y, c->x});
        break;
    case CONV_BWD_WEIGHTS:
        conv2d_bwd_weights(&ctx, &(struct conv2d_bwd_weights_args){
                                     c->s, c->x, c->y, c->dw, NULL});
        break;
    }
}

static void conv_time(const struct bench_rows *b, struct conv_bench *c,
                      enum conv_what what, bool is_winograd)
{
    const struct conv2d_shape *s = &c->s;
    double best = 1e30;
    char shape[96];
    for (unsigned i = 0; i < b->warmup + b->repeat; i++) {
        double start = bench_rows_now(b);
        conv_once(b, c, what);
        double t = bench_rows_now(b) - start;
        if (i >= b->warmup && t < best)
            best = t;
    }
    double flop =
        2.0 * s->n * s->oh * s->ow * (double)s->cout * s->c0 * s->kh * s->kw;
    (void)snprintf(shape, sizeof shape, "%ux%ux%u %u->%u k%u s%u", s->n, s->h,
                   s->w, s->c0, s->cout, s->kh, s->stride);
    bench_rows_put(b, conv_names[what], shape,
                   is_winograd ? "winograd" : "direct", best, flop);
}

static enum unstir_status conv_bench_row(const struct bench_rows *b,
                                         const struct conv_row *r,
                                         struct unstir_error *err)
{
    struct conv_bench c;
    struct bench_rows direct = *b;
    bool is_winograd;
    direct.k.wino.is_used = false;
    enum unstir_status status = conv_bench_init(&c, b, r, err);
    if (status != UNSTIR_OK)
        goto out;
    is_winograd = choose_conv(&b->k, &c.s, false) == CONV_WINOGRAD;
    for (int what = CONV_FORWARD; what <= CONV_BWD_WEIGHTS; what++)
        conv_time(b, &c, (enum conv_what)what, is_winograd);
    conv_bench_fini(&c);
    if (!is_winograd)
        return UNSTIR_OK;
    /* what the rule was chosen against */
    status = conv_bench_init(&c, &direct, r, err);
    for (int what = CONV_FORWARD;
         status == UNSTIR_OK && what <= CONV_BWD_WEIGHTS; what++)
        conv_time(&direct, &c, (enum conv_what)what, false);
out:
    conv_bench_fini(&c);
    return status;
}

static enum unstir_status conv_rows_all(struct bench_rows *b,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(conv_rows); i++)
        TRY(conv_bench_row(b, &conv_rows[i], err));
    return UNSTIR_OK;
}

/* -- machine --------------------------------------------------------------- */

#define MEMORY_BYTES ((size_t)64 << 20) /* beyond most last-level caches      */
#define MEMORY_PARTS 16u
#define BURST_ROUNDS 400000u
#define PEAK_ROUNDS  64u

struct machine {
    const struct kernel_table *k;
    float *a, *b;
    size_t part; /* floats */
    uint64_t flops;
};

static void burst_chunk(void *arg, size_t i, unsigned worker)
{
    struct machine *m = arg;
    float sink = 0.5f;
    uint64_t n = m->k->gemm.burst(BURST_ROUNDS, &sink);
    m->b[i * 16] = sink;
    if (i == 0)
        m->flops = n;
}

static void read_chunk(void *arg, size_t i, unsigned worker)
{
    struct machine *m = arg;
    float sums[32] = {0};
    m->k->gemm.add_rows(sums, m->a + i * m->part, m->part / 32, 32);
    m->b[i * 16] = sums[0];
}

static void copy_chunk(void *arg, size_t i, unsigned worker)
{
    struct machine *m = arg;
    memcpy(m->b + i * m->part, m->a + i * m->part, m->part * sizeof *m->a);
}

static double best_time(const struct bench_rows *b, size_t n, pool_fn fn,
                        struct machine *m)
{
    double best = 1e30;
    for (unsigned i = 0; i < b->warmup + b->repeat; i++) {
        double start = bench_rows_now(b);
        pool_run(b->pool, n, fn, m);
        double t = bench_rows_now(b) - start;
        if (i >= b->warmup && t < best)
            best = t;
    }
    return best;
}

enum unstir_status
unstir_bench_machine(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err)
{
    struct bench_rows b;
    struct machine m = {.part = MEMORY_BYTES / sizeof(float) / MEMORY_PARTS};
    *json = NULL;
    enum unstir_status status = bench_init(&b, options, err);
    if (status == UNSTIR_OK)
        status = floats(&m.a, MEMORY_PARTS * m.part, err);
    if (status == UNSTIR_OK)
        status = floats(&m.b, MEMORY_PARTS * m.part, err);
    if (status != UNSTIR_OK)
        goto out;
    m.k = &b.k;
    unsigned n_threads = pool_threads(b.pool);
    double one = best_time(&b, 1, burst_chunk, &m);
    /* several chunks a thread, so that all of them take part */
    double all = best_time(&b, 4 * (size_t)n_threads, burst_chunk, &m);
    double read = best_time(&b, MEMORY_PARTS, read_chunk, &m);
    double copy = best_time(&b, MEMORY_PARTS, copy_chunk, &m);
    json_open_object(b.json, NULL);
    json_put_string(b.json, "what", "machine");
    json_put_string(b.json, "isa", b.k.isa);
    json_put_int(b.json, "threads", n_threads);
    json_put_real(b.json, "gflops_one_thread", (double)m.flops / one * 1e-9);
    json_put_real(b.json, "gflops",
                  4.0 * n_threads * (double)m.flops / all * 1e-9);
    json_put_real(b.json, "read_gb_s", (double)MEMORY_BYTES / read * 1e-9);
    json_put_real(b.json, "copy_gb_s", (double)MEMORY_BYTES / copy * 1e-9);
    json_close(b.json);
    status = bench_finish(&b, json, err);
out:
    alloc_free(m.a);
    alloc_free(m.b);
    bench_fini(&b);
    return status;
}

/* Multiply-adds from registers by the clock of b.  Bursts are shorter than a
 * time slice and many, so that some run undisturbed. */
static double burst_gflops(struct bench_rows b, size_t n_chunks,
                           struct unstir_error *err)
{
    struct machine m = {.k = &b.k};
    double s;

    if (floats(&m.b, 16 * n_chunks, err) != UNSTIR_OK)
        return 0;
    b.repeat = PEAK_ROUNDS;
    s = best_time(&b, n_chunks, burst_chunk, &m);
    alloc_free(m.b);
    return (double)n_chunks * (double)m.flops / s * 1e-9;
}

double bench_peak_gflops(const struct unstir_bench_options *o)
{
    struct bench_rows b;
    double peak = 0;

    if (bench_init(&b, o, NULL) == UNSTIR_OK)
        peak = burst_gflops(b, 4 * (size_t)pool_threads(b.pool), NULL);
    bench_fini(&b);
    return peak;
}

/* -- all rows -------------------------------------------------------------- */

enum unstir_status bench_rows_run(const struct unstir_bench_options *options,
                                  const char *what, clockid_t clock,
                                  const bench_rows_fn *parts, size_t n_parts,
                                  char **json, struct unstir_error *err)
{
    struct bench_rows b;
    *json = NULL;
    enum unstir_status status = bench_init(&b, options, err);
    if (status != UNSTIR_OK)
        goto out;
    b.clock = clock;
    json_open_object(b.json, NULL);
    /* CPU time is of all threads together: the roof is one thread's. */
    b.peak_gflops = burst_gflops(
        b, clock == CLOCK_MONOTONIC ? 4 * (size_t)pool_threads(b.pool) : 1,
        NULL);
    json_put_string(b.json, "what", what);
    json_put_string(b.json, "isa", b.k.isa);
    json_put_int(b.json, "threads", pool_threads(b.pool));
    json_open_array(b.json, "rows");
    for (size_t i = 0; status == UNSTIR_OK && i < n_parts; i++)
        status = parts[i](&b, err);
    json_close(b.json);
    json_close(b.json);
    if (status == UNSTIR_OK)
        status = bench_finish(&b, json, err);
out:
    bench_fini(&b);
    return status;
}

enum unstir_status
unstir_bench_kernels(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err)
{
    static const bench_rows_fn parts[] = {conv_rows_all, bench_rows_linear,
                                          bench_rows_attention};

    return bench_rows_run(options, "kernels", CLOCK_MONOTONIC, parts,
                          ARRAY_LEN(parts), json, err);
}
