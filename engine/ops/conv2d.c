/* conv2d.c - convolution and its input's adjoint; the packing of weights.
 *
 * Two algorithms, chosen by the rules of choose.c: tiles of direct products
 * (conv2d_core.c) and Winograd's.  Weights that may meet both are packed for
 * both, the direct panels first: which one runs also depends on sizes that
 * packing does not know.  Winograd's part begins with a word that says whether
 * these weights are accurate enough for it: of bf16 operands a gate decides on
 * fixed data (winograd_gate.c).
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/conv2d.h"

#include <string.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/choose.h"
#include "ops/conv2d_parts.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"

/* -- weights --------------------------------------------------------------- */

/* Channels of an operand pixel: whole k units. */
static uint32_t padded(const struct kernel_table *k, uint32_t c)
{
    uint32_t ku = k->gemm.ku;
    return (c + ku - 1) / ku * ku;
}

/* A view of weights as [cout][cin][kh][kw] with any strides. */
struct weight_view {
    const float *w;
    uint32_t cin, cout, kh, kw;
    ptrdiff_t o, c, y, x; /* strides in floats                               */
};

static float weight_at(const struct weight_view *v, size_t k, uint32_t cp,
                       uint32_t o)
{
    uint32_t c = (uint32_t)(k % cp), tap = (uint32_t)(k / cp);
    if (c >= v->cin || o >= v->cout)
        return 0.0f;
    return v
        ->w[(ptrdiff_t)o * v->o + (ptrdiff_t)c * v->c +
            (ptrdiff_t)(tap / v->kw) * v->y + (ptrdiff_t)(tap % v->kw) * v->x];
}

/* Panel p of the f32 layout with ku = 1: the common case, without tests in
 * the inner loop. */
static void pack_panel_f32(float *dst, const struct weight_view *v, uint32_t nr,
                           uint32_t p)
{
    uint32_t o0 = p * nr;
    uint32_t n = v->cout - o0 < nr ? v->cout - o0 : nr;
    for (uint32_t tap = 0; tap < v->kh * v->kw; tap++) {
        const float *w = v->w + (ptrdiff_t)o0 * v->o +
                         (ptrdiff_t)(tap / v->kw) * v->y +
                         (ptrdiff_t)(tap % v->kw) * v->x;
        for (uint32_t c = 0; c < v->cin; c++, w += v->c, dst += nr) {
            for (uint32_t j = 0; j < n; j++)
                dst[j] = w[(ptrdiff_t)j * v->o];
            for (uint32_t j = n; j < nr; j++)
                dst[j] = 0.0f;
        }
    }
}

/* Panel p of nr columns in another operand type; BLAS has panels of any
 * width. */
static void pack_panel_narrow(const struct kernel_table *k, char *dst,
                              const struct weight_view *v, uint32_t nr,
                              uint32_t p)
{
    const struct gemm_kernels *g = &k->gemm;
    float unit[2 * GEMM_MAX_NR];
    uint32_t cp = padded(k, v->cin), width = nr * g->ku;
    size_t n_k = (size_t)v->kh * v->kw * cp;
    for (size_t at = 0; at < n_k; at += g->ku)
        for (uint32_t from = 0, n; from < width; from += n) {
            n = width - from < ARRAY_LEN(unit) ? width - from
                                               : (uint32_t)ARRAY_LEN(unit);
            for (uint32_t i = 0; i < n; i++)
                unit[i] = weight_at(v, at + (from + i) % g->ku, cp,
                                    p * nr + (from + i) / g->ku);
            g->narrow(dst, unit, n);
            dst += n * dtype_size(g->operand);
        }
}

/* Rows [cout][kh][kw][cin] for dot products. */
static void pack_rows(const struct kernel_table *k, float *dst,
                      const struct weight_view *v)
{
    size_t n_k = (size_t)v->kh * v->kw * v->cin;
    for (uint32_t o = 0; o < v->cout; o++, dst += n_k) {
        for (size_t i = 0; i < n_k; i++)
            dst[i] = weight_at(v, i, v->cin, o);
        if (k->gemm.narrow) /* to floats, in place */
            k->gemm.narrow(dst, dst, n_k);
    }
}

static void pack_view(const struct kernel_table *k, void *dst,
                      const struct weight_view *v)
{
    if (choose_packs_dots(k, v->cin, v->cout)) {
        pack_rows(k, dst, v);
        return;
    }
    uint32_t nr = conv_panel_width(k, v->cin, v->cout);
    size_t panel = (size_t)v->kh * v->kw * padded(k, v->cin) * nr *
                   dtype_size(k->gemm.operand);
    for (uint32_t p = 0; p * nr < v->cout; p++) {
        char *d = (char *)dst + p * panel;
        if (!k->gemm.narrow)
            pack_panel_f32((float *)d, v, nr, p);
        else
            pack_panel_narrow(k, d, v, nr, p);
    }
}

size_t conv2d_panels_bytes(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw)
{
    size_t nr = conv_panel_width(k, cin, cout);
    size_t columns = (cout + nr - 1) / nr * nr;
    return size_align((size_t)kh * kw * padded(k, cin) * columns *
                          dtype_size(k->gemm.operand),
                      64);
}

/* In front of Winograd's part, alone in its cache line. */
struct winograd_head {
    uint32_t is_refused;
};
#define HEAD_BYTES ((size_t)64)

size_t conv2d_packed_bytes(const struct kernel_table *k, uint32_t cin,
                           uint32_t cout, uint32_t kh, uint32_t kw)
{
    size_t n = conv2d_panels_bytes(k, cin, cout, kh, kw);
    if (choose_packs_winograd(k, cin, cout, kh, kw))
        n += HEAD_BYTES + size_align(winograd_packed_bytes(k, cin, cout), 64);
    return n;
}

/* Where Winograd's head of a convolution cin -> cout stands. */
static struct winograd_head *winograd_head(const struct kernel_table *k,
                                           const void *packed, uint32_t cin,
                                           uint32_t cout)
{
    return (struct winograd_head *)((char *)packed +
                                    conv2d_panels_bytes(k, cin, cout, 3, 3));
}

static void *winograd_part(struct winograd_head *head)
{
    return (char *)head + HEAD_BYTES;
}

static void pack_winograd(const struct kernel_table *k,
                          struct winograd_head *head, const float *w,
                          uint32_t cin, uint32_t cout, bool is_adjoint)
{
    memset(head, 0, HEAD_BYTES);
    winograd_pack(k, winograd_part(head), w, cin, cout, is_adjoint);
}

/* cin, cout are the file's. */
static void try_winograd(const struct kernel_table *k,
                         struct winograd_head *head, const float *w,
                         uint32_t cin, uint32_t cout, bool is_adjoint)
{
    if (k->gemm.is_bf16)
        head->is_refused = !winograd_is_accurate(k, winograd_part(head), w, cin,
                                                 cout, is_adjoint);
}

bool conv2d_reads_rows(const struct kernel_table *k, uint32_t cin,
                       uint32_t cout)
{
    return !k->gemm.is_blas && !choose_packs_dots(k, cin, cout);
}

bool conv2d_is_demoted(const struct kernel_table *k, const void *packed,
                       uint32_t cin, uint32_t cout, uint32_t kh, uint32_t kw)
{
    return choose_packs_winograd(k, cin, cout, kh, kw) &&
           winograd_head(k, packed, cin, cout)->is_refused;
}

static void pack_forward(const struct kernel_table *k, void *dst,
                         const float *w, uint32_t cin, uint32_t cout,
                         uint32_t kh, uint32_t kw)
{
    ptrdiff_t taps = (ptrdiff_t)kh * kw;
    pack_view(k, dst,
              &(struct weight_view){w, cin, cout, kh, kw, (ptrdiff_t)cin * taps,
                                    taps, (ptrdiff_t)kw, 1});
    if (choose_packs_winograd(k, cin, cout, kh, kw))
        pack_winograd(k, winograd_head(k, dst, cin, cout), w, cin, cout, false);
}

void conv2d_pack(const struct kernel_table *k, void *dst, const float *w,
                 uint32_t cin, uint32_t cout, uint32_t kh, uint32_t kw)
{
    pack_forward(k, dst, w, cin, cout, kh, kw);
    if (choose_packs_winograd(k, cin, cout, kh, kw))
        try_winograd(k, winograd_head(k, dst, cin, cout), w, cin, cout, false);
}

static void pack_adjoint(const struct kernel_table *k, void *dst,
                         const float *w, uint32_t cin, uint32_t cout,
                         uint32_t kh, uint32_t kw)
{
    ptrdiff_t taps = (ptrdiff_t)kh * kw;
    pack_view(k, dst,
              &(struct weight_view){w + taps - 1, cout, cin, kh, kw, taps,
                                    (ptrdiff_t)cin * taps, -(ptrdiff_t)kw, -1});
    if (choose_packs_winograd(k, cout, cin, kh, kw))
        pack_winograd(k, winograd_head(k, dst, cout, cin), w, cin, cout, true);
}

void conv2d_pack_adjoint(const struct kernel_table *k, void *dst,
                         const float *w, uint32_t cin, uint32_t cout,
                         uint32_t kh, uint32_t kw)
{
    pack_adjoint(k, dst, w, cin, cout, kh, kw);
    if (choose_packs_winograd(k, cout, cin, kh, kw))
        try_winograd(k, winograd_head(k, dst, cout, cin), w, cin, cout, true);
}

struct pack_many {
    const struct kernel_table *k;
    const struct conv2d_pack_job *jobs;
};

static void pack_chunk(void *arg, size_t i, unsigned worker)
{
    const struct pack_many *many = arg;
    const struct conv2d_pack_job *j = &many->jobs[i];
    (j->is_adjoint ? pack_adjoint : pack_forward)(many->k, j->dst, j->w, j->cin,
                                                  j->cout, j->kh, j->kw);
}

void conv2d_pack_many(const struct op_ctx *ctx,
                      const struct conv2d_pack_job *jobs, size_t n)
{
    struct pack_many many = {ctx->k, jobs};
    pool_run(ctx->pool, n, pack_chunk, &many);
}

/* -- forward --------------------------------------------------------------- */

static bool is_winograd(const struct kernel_table *k,
                        const struct conv2d_shape *s)
{
    return choose_conv(k, s, false) == CONV_WINOGRAD;
}

/* Winograd's part of packed weights, or NULL: they are refused. */
static const void *winograd_weights(const struct kernel_table *k,
                                    const struct conv2d_shape *s,
                                    const void *packed)
{
    struct winograd_head *head =
        winograd_head(k, packed, s->c0 + s->c1, s->cout);
    return head->is_refused ? NULL : winograd_part(head);
}

/* Run it by Winograd's way, if it goes it. */
static bool try_winograd_run(const struct op_ctx *ctx,
                             const struct conv2d_args *a)
{
    struct conv2d_args args = *a;
    if (a->is_direct || !is_winograd(ctx->k, &a->s))
        return false;
    if (a->rows && a->rows->is_demoted)
        return false;
    args.w = a->filters;
    if (!a->filters && !a->rows)
        args.w = winograd_weights(ctx->k, &a->s, a->w);
    if (!args.w && !a->rows)
        return false;
    winograd_run(ctx, &args);
    return true;
}

/* Scratch of a convolution that fits Winograd's rule or not; the weights, of
 * which only packing knows whether they pass the gate, may send it the direct
 * way. */
static size_t either_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s, size_t direct,
                             bool has_rows)
{
    if (!is_winograd(k, s))
        return direct;
    size_t winograd = winograd_scratch(k, n_threads, s, has_rows);
    return k->gemm.is_bf16 && direct > winograd ? direct : winograd;
}

static struct conv_core core_of(const struct kernel_table *k,
                                const struct conv2d_shape *s)
{
    return (struct conv_core){
        .im = {.type = k->gemm.operand,
               .is_narrow = k->gemm.narrow != NULL,
               .n = s->n,
               .h = s->h,
               .w = s->w,
               .c0 = s->c0,
               .c1 = s->c1,
               .up_h = s->up_h,
               .up_w = s->up_w,
               .dilation = 1,
               .pad_t = (int32_t)s->pad_t,
               .pad_l = (int32_t)s->pad_l,
               .ph = (s->oh - 1) * s->stride + s->kh,
               .pw = (s->ow - 1) * s->stride + s->kw,
               .cp = padded(k, s->c0 + s->c1)},
        .oh = s->oh,
        .ow = s->ow,
        .cout = s->cout,
        .kh = s->kh,
        .kw = s->kw,
        .stride = s->stride,
    };
}

size_t conv2d_scratch_of(const struct kernel_table *k, unsigned n_threads,
                         const struct conv2d_shape *s,
                         const struct conv2d_kind *kind)
{
    static const float any_scale;
    static const struct weight_rows any_rows;
    struct conv_core core = core_of(k, s);
    core.im.is_narrow &= !kind->has_operands;
    core.im.scale = kind->is_plain ? NULL : &any_scale;
    core.rows = kind->has_rows ? &any_rows : NULL;
    return either_scratch(k, n_threads, s,
                          conv_core_scratch(k, n_threads, &core),
                          kind->has_rows);
}

size_t conv2d_scratch(const struct kernel_table *k, unsigned n_threads,
                      const struct conv2d_shape *s)
{
    return conv2d_scratch_of(k, n_threads, s,
                             &(struct conv2d_kind){.is_plain = false});
}

void conv2d_run(const struct op_ctx *ctx, const void *conv2d_args)
{
    const struct conv2d_args *a = conv2d_args;
    struct conv_core core = core_of(ctx->k, &a->s);
    if (try_winograd_run(ctx, a))
        return;
    core.im.is_narrow &= !a->has_operands;
    core.im.x0 = a->x0;
    core.im.x1 = a->x1;
    core.im.scale = a->scale;
    core.im.shift = a->shift;
    core.im.act = a->act;
    core.w = a->w;
    core.rows = a->rows;
    core.bias = a->bias;
    core.vec = a->vec;
    core.vec_stride = a->vec_stride;
    core.res = a->res;
    core.out_scale = a->out_scale;
    core.y = a->y;
    conv_core_run(ctx, &core);
}

void conv2d_exact_run(const struct op_ctx *ctx, const void *conv2d_args)
{
    struct kernel_table exact;
    struct op_ctx inner = *ctx;

    kernels_use_exact_operands(&exact, ctx->k);
    inner.k = &exact;
    conv2d_run(&inner, conv2d_args);
}

/* -- adjoint of the input -------------------------------------------------- */

/* dx is a convolution of dy, spread by the stride, with the flipped weights;
 * its border is what the forward's lacks to a full one. */
static struct conv_core adjoint_of(const struct kernel_table *k,
                                   const struct conv2d_shape *s)
{
    return (struct conv_core){
        .im = {.type = k->gemm.operand,
               .is_narrow = k->gemm.narrow != NULL,
               .n = s->n,
               .h = s->oh,
               .w = s->ow,
               .c0 = s->cout,
               .up_h = s->oh,
               .up_w = s->ow,
               .dilation = s->stride,
               .pad_t = (int32_t)s->kh - 1 - (int32_t)s->pad_t,
               .pad_l = (int32_t)s->kw - 1 - (int32_t)s->pad_l,
               .ph = s->h + s->kh - 1,
               .pw = s->w + s->kw - 1,
               .cp = padded(k, s->cout)},
        .oh = s->h,
        .ow = s->w,
        .cout = s->c0,
        .kh = s->kh,
        .kw = s->kw,
        .stride = 1,
        .out_scale = 1.0f,
    };
}

/* The same as choose_input_adjoint() wants it. */
static struct conv2d_shape adjoint_shape(const struct conv2d_shape *s)
{
    struct conv2d_shape t = {
        .n = s->n,
        .h = s->oh,
        .w = s->ow,
        .c0 = s->cout,
        .up_h = s->oh,
        .up_w = s->ow,
        .cout = s->c0,
        .kh = s->kh,
        .kw = s->kw,
        .stride = s->stride,
        .pad_t = s->kh - 1 - s->pad_t,
        .pad_l = s->kw - 1 - s->pad_l,
        .oh = s->h,
        .ow = s->w,
    };
    if (s->stride == 1 && (s->pad_t >= s->kh || s->pad_l >= s->kw))
        t.stride = 0; /* no convolution: Winograd's rules refuse it */
    return t;
}

static bool is_by_phases(const struct kernel_table *k,
                         const struct conv2d_shape *t)
{
    return choose_input_adjoint(k, t) == ADJOINT_PHASES;
}

size_t conv2d_bwd_data_scratch(const struct kernel_table *k, unsigned n_threads,
                               const struct conv2d_shape *s)
{
    struct conv2d_shape t = adjoint_shape(s);
    struct conv_core core = adjoint_of(k, s);
    size_t direct = is_by_phases(k, &t)
                        ? conv_phases_scratch(k, n_threads, &core)
                        : conv_core_scratch(k, n_threads, &core);
    return either_scratch(k, n_threads, &t, direct, false);
}

void conv2d_bwd_data(const struct op_ctx *ctx, const void *bwd_data_args)
{
    const struct conv2d_bwd_data_args *a = bwd_data_args;
    const float *before = a->is_accumulating ? a->dx : NULL;
    struct conv2d_shape t = adjoint_shape(&a->s);
    if (try_winograd_run(ctx, &(struct conv2d_args){.s = t,
                                                    .out_scale = 1.0f,
                                                    .x0 = a->dy,
                                                    .w = a->w,
                                                    .res = before,
                                                    .y = a->dx}))
        return;
    struct conv_core core = adjoint_of(ctx->k, &a->s);
    core.im.x0 = a->dy;
    core.w = a->w;
    core.y = a->dx;
    core.res = before;
    if (is_by_phases(ctx->k, &t))
        conv_phases_run(ctx, &core);
    else
        conv_core_run(ctx, &core);
}
