/* conv2d_strided.c - the input's adjoint of a strided convolution, by phases.
 *
 * Spread by its stride, dy is mostly zeros: of a 3x3 convolution of stride 2
 * three products in four are with them.  But pixels of dx whose coordinates
 * agree modulo the stride (a phase) all meet the same taps, so each phase is
 * a convolution of stride 1 of dy as it is, with a part of the taps.  Taps
 * keep their order within a sum, so the bits are those of the spread form.
 *
 * A phase is computed into scratch and then laid into dx.  Its panels are
 * gathered from those of conv2d_pack_adjoint(), tap by tap: as many bytes as
 * the weights have, for all phases together.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/conv2d_parts.h"

/* One coordinate of a phase: taps first, first + stride, ..., and dy's place
 * under the first of them at the phase's first pixel. */
struct axis {
    uint32_t n, first, n_taps;
    int32_t base;
};

static struct axis axis_of(uint32_t size, uint32_t phase, uint32_t taps,
                           uint32_t stride, int32_t pad)
{
    struct axis a = {.n = (size - phase + stride - 1) / stride};
    int32_t s = (int32_t)stride, rest = ((int32_t)phase - pad) % s;
    a.first = (uint32_t)((s - rest) % s);
    a.n_taps = a.first < taps ? (taps - a.first + stride - 1) / stride : 0;
    a.base = ((int32_t)(phase + a.first) - pad) / s; /* exact */
    return a;
}

struct phase {
    struct axis y, x;
    struct conv_core core; /* n_taps 0 along an axis: unused                 */
};

static struct phase phase_of(const struct conv_core *whole, uint32_t at)
{
    uint32_t stride = whole->im.dilation;
    struct phase p;
    p.y = axis_of(whole->oh, at / stride, whole->kh, stride, whole->im.pad_t);
    p.x = axis_of(whole->ow, at % stride, whole->kw, stride, whole->im.pad_l);
    p.core = *whole;
    p.core.im.dilation = 1;
    p.core.im.pad_t = -p.y.base;
    p.core.im.pad_l = -p.x.base;
    p.core.im.ph = p.y.n + p.y.n_taps - 1;
    p.core.im.pw = p.x.n + p.x.n_taps - 1;
    p.core.oh = p.y.n;
    p.core.ow = p.x.n;
    p.core.kh = p.y.n_taps;
    p.core.kw = p.x.n_taps;
    p.core.res = NULL;
    return p;
}

static bool has_taps(const struct phase *p)
{
    return p->y.n_taps > 0 && p->x.n_taps > 0;
}

/* -- scratch --------------------------------------------------------------- */

struct layout {
    size_t tap, panel; /* bytes of a panel's tap, of a whole panel           */
    uint32_t n_panels;
    size_t weights, sums, core; /* bytes of each part                        */
};

static struct layout layout_of(const struct kernel_table *k, unsigned n_threads,
                               const struct conv_core *whole)
{
    uint32_t stride = whole->im.dilation;
    uint32_t nr = conv_panel_width(k, whole->im.c0, whole->cout);
    struct layout l = {.n_panels = (whole->cout + nr - 1) / nr};
    l.tap = (size_t)whole->im.cp * nr * dtype_size(whole->im.type);
    l.panel = l.tap * whole->kh * whole->kw;
    l.weights = size_align(l.panel * l.n_panels, 64);
    size_t rows = (whole->oh + stride - 1) / stride;
    size_t columns = (whole->ow + stride - 1) / stride;
    l.sums = size_align(
        whole->im.n * rows * columns * whole->cout * sizeof(float), 64);
    for (uint32_t at = 0; at < stride * stride; at++) {
        struct phase p = phase_of(whole, at);
        size_t bytes =
            has_taps(&p) ? conv_core_scratch(k, n_threads, &p.core) : 0;
        l.core = bytes > l.core ? bytes : l.core;
    }
    return l;
}

size_t conv_phases_scratch(const struct kernel_table *k, unsigned n_threads,
                           const struct conv_core *whole)
{
    struct layout l = layout_of(k, n_threads, whole);
    return l.weights + l.sums + l.core;
}

/* -- running --------------------------------------------------------------- */

struct run {
    const struct conv_core *whole;
    const struct phase *phase;
    uint32_t at;
    const float *sums;
};

/* A row of the phase into dx: added to what is there, or in its place. */
static void lay_row(void *arg, size_t row, unsigned worker)
{
    const struct run *run = arg;
    const struct conv_core *w = run->whole;
    const struct phase *p = run->phase;
    uint32_t stride = w->im.dilation, c = w->cout;
    size_t i = row / p->y.n;
    size_t y = row % p->y.n * stride + run->at / stride;
    size_t at = ((i * w->oh + y) * w->ow + run->at % stride) * c;
    const float *from = run->sums + row * p->x.n * c;
    (void)worker;
    for (uint32_t x = 0; x < p->x.n; x++, from += c, at += (size_t)stride * c) {
        if (!has_taps(p)) {
            if (!w->res)
                memset(w->y + at, 0, c * sizeof(float));
        } else if (w->res) {
            for (uint32_t j = 0; j < c; j++)
                w->y[at + j] = w->res[at + j] + from[j];
        } else {
            memcpy(w->y + at, from, c * sizeof(float));
        }
    }
}

static void gather_taps(char *dst, const struct layout *l,
                        const struct conv_core *whole, const struct phase *p)
{
    uint32_t stride = whole->im.dilation;
    for (uint32_t panel = 0; panel < l->n_panels; panel++)
        for (uint32_t y = 0; y < p->y.n_taps; y++)
            for (uint32_t x = 0; x < p->x.n_taps; x++, dst += l->tap) {
                uint32_t ky = p->y.first + y * stride;
                uint32_t kx = p->x.first + x * stride;
                const char *from = (const char *)whole->w + panel * l->panel;
                memcpy(dst, from + ((size_t)ky * whole->kw + kx) * l->tap,
                       l->tap);
            }
}

void conv_phases_run(const struct op_ctx *ctx, const struct conv_core *whole)
{
    uint32_t stride = whole->im.dilation;
    unsigned n_threads = ctx->pool ? pool_threads(ctx->pool) : 1;
    struct layout l = layout_of(ctx->k, n_threads, whole);
    char *weights = (char *)ctx->scratch;
    float *sums = (float *)(void *)(ctx->scratch + l.weights);
    struct op_ctx inner = *ctx;
    inner.scratch = ctx->scratch + l.weights + l.sums;
    inner.scratch_bytes = l.core;
    for (uint32_t at = 0; at < stride * stride; at++) {
        struct phase p = phase_of(whole, at);
        struct run run = {whole, &p, at, sums};
        if (has_taps(&p)) {
            gather_taps(weights, &l, whole, &p);
            p.core.w = weights;
            p.core.y = sums;
            conv_core_run(&inner, &p.core);
        }
        pool_run(ctx->pool, (size_t)whole->im.n * p.y.n, lay_row, &run);
    }
}
