/* bench_kernels.c - how fast kernels are: convolutions and their adjoints, and
 * what bench_linear.c and bench_attention.c time.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "bench_rows.h"
#include "ops/choose.h"
#include "ops/conv2d.h"

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
    enum conv_what what;
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
    TRY(bench_rows_floats(&c->x, (size_t)s.n * s.h * s.w * s.c0, err));
    TRY(bench_rows_floats(&c->y, (size_t)s.n * s.oh * s.ow * s.cout, err));
    TRY(bench_rows_floats(&c->w, n_w, err));
    TRY(bench_rows_floats(&c->dw, n_w, err));
    TRY(bench_rows_floats(
        &c->packed, conv2d_packed_bytes(k, s.c0, s.cout, s.kh, s.kw) / 4, err));
    TRY(bench_rows_floats(&c->adjoint,
                          conv2d_packed_bytes(k, s.cout, s.c0, s.kh, s.kw) / 4,
                          err));
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

static void conv_once(const struct bench_rows *b, void *arg)
{
    struct conv_bench *c = arg;
    struct op_ctx ctx = {&b->k, b->pool, c->scratch, c->scratch_bytes};
    switch (c->what) {
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
                      bool is_winograd)
{
    const struct conv2d_shape *s = &c->s;
    double flop =
        2.0 * s->n * s->oh * s->ow * (double)s->cout * s->c0 * s->kh * s->kw;
    char shape[96];

    (void)snprintf(shape, sizeof shape, "%ux%ux%u %u->%u k%u s%u", s->n, s->h,
                   s->w, s->c0, s->cout, s->kh, s->stride);
    for (int what = CONV_FORWARD; what <= CONV_BWD_WEIGHTS; what++) {
        c->what = (enum conv_what)what;
        bench_rows_put(b, conv_names[what], shape,
                       is_winograd ? "winograd" : "direct",
                       bench_rows_best(b, conv_once, c), flop);
    }
}

static enum unstir_status conv_bench_row(const struct bench_rows *b,
                                         const struct conv_row *r,
                                         bool is_winograd,
                                         struct unstir_error *err)
{
    struct conv_bench c;
    enum unstir_status status = conv_bench_init(&c, b, r, err);

    if (status == UNSTIR_OK)
        conv_time(b, &c, is_winograd);
    conv_bench_fini(&c);
    return status;
}

static enum unstir_status conv_rows_all(struct bench_rows *b,
                                        struct unstir_error *err)
{
    struct bench_rows direct = *b;

    direct.k.wino.is_used = false;
    for (size_t i = 0; i < ARRAY_LEN(conv_rows); i++) {
        struct conv2d_shape s = conv_shape(&conv_rows[i]);
        bool is_winograd = choose_conv(&b->k, &s, false) == CONV_WINOGRAD;

        TRY(conv_bench_row(b, &conv_rows[i], is_winograd, err));
        if (is_winograd) /* what the rule was chosen against */
            TRY(conv_bench_row(&direct, &conv_rows[i], false, err));
    }
    return UNSTIR_OK;
}

enum unstir_status
unstir_bench_kernels(const struct unstir_bench_options *options, char **json,
                     struct unstir_error *err)
{
    static const bench_rows_fn parts[] = {conv_rows_all, bench_rows_linear,
                                          bench_rows_attention};
    static const struct bench_rows_table table = {
        .what = "kernels",
        .list = "rows",
        .clock = CLOCK_MONOTONIC,
        .parts = parts,
        .n_parts = ARRAY_LEN(parts),
    };

    return bench_rows_run(options, &table, json, err);
}
