/* bench_conv.c - the 3x3 convolutions of Stable Diffusion 1.5, forward.
 *
 * Weights are as that network keeps them on the rung: packed where operands have
 * 16 bits, else read in place, from f16.  GFLOP/s are those of the direct
 * convolution, whatever algorithm runs, so that figures of
 * different algorithms compare.  Time is that of the process on its CPUs, all
 * threads together: on a shared machine a neighbour costs caches then, but no
 * time slices.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "bench_rows.h"
#include "format/json.h"
#include "ops/choose.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"
#include "ops/weight_rows.h"
#include "tensor/dtype.h"

/* Of one evaluation at 64x64; `up`: behind an upsampling of size / 2. */
static const struct row {
    uint32_t size, cin, cout;
    bool has_up;
} shapes[] = {
    {64, 320, 320, false},   {64, 640, 320, false},   {64, 960, 320, false},
    {32, 320, 640, false},   {32, 640, 640, false},   {32, 960, 640, false},
    {32, 1280, 640, false},  {32, 1920, 640, false},  {16, 640, 1280, false},
    {16, 1280, 1280, false}, {16, 1920, 1280, false}, {16, 2560, 1280, false},
    {8, 1280, 1280, false},  {8, 2560, 1280, false},  {64, 640, 640, true},
    {32, 1280, 1280, true},  {16, 1280, 1280, true},
};

/* One row. */
struct conv_bench {
    struct conv2d_shape s;
    enum conv_way way;
    float *x, *y;
    uint16_t *w;
    void *scratch;
    size_t n_scratch;
    struct weight_piece piece;
    struct weight_rows rows;
    void *packed; /* or NULL: rows                                           */
};

static struct conv2d_shape shape_of(const struct row *r)
{
    uint32_t from = r->has_up ? r->size / 2 : r->size;

    return (struct conv2d_shape){.n = 1,
                                 .h = from,
                                 .w = from,
                                 .c0 = r->cin,
                                 .up_h = r->size,
                                 .up_w = r->size,
                                 .cout = r->cout,
                                 .kh = 3,
                                 .kw = 3,
                                 .stride = 1,
                                 .pad_t = 1,
                                 .pad_l = 1,
                                 .oh = r->size,
                                 .ow = r->size};
}

/* As a file of f16 has them: a network of that size reads them there. */
static enum unstir_status rows_init(struct conv_bench *c, uint32_t cin,
                                    uint32_t cout, struct unstir_error *err)
{
    size_t n = (size_t)cin * cout * 9;
    uint16_t values[17];

    TRY(alloc_aligned(&c->w, n, sizeof *c->w, err));
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        values[i] = dtype_to_f16((float)i * 0.125F - 1.0F);
    for (size_t i = 0; i < n; i++)
        c->w[i] = values[i % ARRAY_LEN(values)];
    c->piece = (struct weight_piece){c->w, DTYPE_F16, cout};
    c->rows = (struct weight_rows){.pieces = &c->piece,
                                   .n_pieces = 1,
                                   .cin = cin,
                                   .cout = cout,
                                   .kh = 3,
                                   .kw = 3,
                                   .phase = WEIGHT_WHOLE};
    return UNSTIR_OK;
}

static enum unstir_status pack(struct conv_bench *c,
                               const struct kernel_table *k,
                               struct unstir_error *err)
{
    uint32_t cin = c->s.c0, cout = c->s.cout;
    bool is_phases = c->way == CONV_PHASES;
    enum unstir_status status;
    float *w;

    TRY(bench_rows_floats(&w, (size_t)cin * cout * (9 + 4), err));
    weight_rows_load(w, &c->rows, 0, cout);
    status = alloc_aligned(&c->packed,
                           is_phases ? conv2d_phases_packed_bytes(k, cin, cout)
                                     : conv2d_packed_bytes(k, cin, cout, 3, 3),
                           1, err);
    if (status == UNSTIR_OK && is_phases)
        conv2d_phases_pack(k, c->packed, w, cin, cout,
                           w + (size_t)cin * cout * 9);
    else if (status == UNSTIR_OK)
        conv2d_pack(k, c->packed, w, cin, cout, 3, 3);
    alloc_free(w);
    return status;
}

static enum unstir_status row_init(struct conv_bench *c,
                                   const struct bench_rows *b,
                                   const struct row *r,
                                   struct unstir_error *err)
{
    struct conv2d_kind kind = {.is_plain = true};
    unsigned n_threads = pool_threads(b->pool);

    *c = (struct conv_bench){.s = shape_of(r)};
    c->way = choose_conv(&b->k, &c->s, r->has_up);
    TRY(bench_rows_floats(&c->x, (size_t)c->s.h * c->s.w * r->cin, err));
    TRY(bench_rows_floats(&c->y, (size_t)r->size * r->size * r->cout, err));
    TRY(rows_init(c, r->cin, r->cout, err));
    if (b->k.gemm.operand == DTYPE_BF16)
        TRY(pack(c, &b->k, err));
    kind.has_rows = !c->packed;
    c->n_scratch = c->way == CONV_PHASES
                       ? conv2d_phases_scratch(&b->k, n_threads, &c->s, &kind)
                       : conv2d_scratch_of(&b->k, n_threads, &c->s, &kind);
    return alloc_aligned(&c->scratch, c->n_scratch, 1, err);
}

static void row_fini(struct conv_bench *c)
{
    alloc_free(c->x);
    alloc_free(c->y);
    alloc_free(c->w);
    alloc_free(c->packed);
    alloc_free(c->scratch);
}

static void row_once(const struct bench_rows *b, void *arg)
{
    const struct conv_bench *c = arg;
    struct op_ctx ctx = {&b->k, b->pool, c->scratch, c->n_scratch};
    struct conv2d_args a = {
        .s = c->s, .out_scale = 1, .x0 = c->x, .w = c->packed, .y = c->y};

    if (!c->packed)
        a.rows = &c->rows;

    if (c->way == CONV_PHASES)
        conv2d_phases_run(&ctx, &a);
    else
        conv2d_run(&ctx, &a);
}

static void tell_row(const struct bench_rows *b, const struct conv_bench *c,
                     const struct row *r, double best)
{
    double flop = 18.0 * r->size * r->size * (double)r->cin * r->cout;

    json_open_object(b->json, NULL);
    json_put_int(b->json, "size", r->size);
    json_put_int(b->json, "cin", r->cin);
    json_put_int(b->json, "cout", r->cout);
    json_put_bool(b->json, "upsampled", r->has_up);
    json_put_string(b->json, "algorithm", choose_name(&b->k, c->way));
    json_put_real(b->json, "cpu_ms", best * 1e3);
    json_put_real(b->json, "gflops", flop / best * 1e-9);
    json_close(b->json);
}

static enum unstir_status conv_all(struct bench_rows *b,
                                   struct unstir_error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        struct conv_bench c;
        enum unstir_status status = row_init(&c, b, &shapes[i], err);

        if (status == UNSTIR_OK)
            tell_row(b, &c, &shapes[i], bench_rows_best(b, row_once, &c));
        row_fini(&c);
        TRY(status);
    }
    return UNSTIR_OK;
}

enum unstir_status unstir_bench_conv(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err)
{
    static const bench_rows_fn part = conv_all;
    static const struct bench_rows_table table = {
        .what = "conv",
        .list = "convolutions",
        .clock = CLOCK_PROCESS_CPUTIME_ID,
        .parts = &part,
        .n_parts = 1,
    };

    return bench_rows_run(options, &table, json, err);
}
