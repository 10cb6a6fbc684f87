/* conv2d_phases.c - four small convolutions, one phase of the picture each.
 *
 * A phase is computed into scratch and spread over the picture while it is
 * still in a cache: one write and one read of an output beside its 4 cin
 * products.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/conv2d_phases.h"

#include <string.h>

#include "base/pool.h"
#include "base/size.h"
#include "kernels/kernels.h"
#include "ops/weight_rows.h"

#define N_PHASES 4

static size_t phase_bytes(const struct kernel_table *k, uint32_t cin,
                          uint32_t cout)
{
    return size_align(conv2d_packed_bytes(k, cin, cout, 2, 2), 64);
}

size_t conv2d_phases_packed_bytes(const struct kernel_table *k, uint32_t cin,
                                  uint32_t cout)
{
    return N_PHASES * phase_bytes(k, cin, cout);
}

/* Filters are added up eight at a time, tap by tap side by side. */
#define FILTERS 8U

/* Sums of n filters, n <= FILTERS, of one phase. */
static void add_taps(const struct kernel_table *k, float *sums, const float *w,
                     size_t n, unsigned phase)
{
    float lines[9][FILTERS] = {{0}}, made[4][FILTERS];

    for (size_t i = 0; i < 9 * n; i++)
        lines[i % 9][i / 9] = w[i];
    k->weights.phase(made[0], FILTERS, lines[0], FILTERS, FILTERS, phase);
    for (size_t i = 0; i < 4 * n; i++)
        sums[i] = made[i % 4][i / 4];
}

void conv2d_phases_pack(const struct kernel_table *k, void *dst, const float *w,
                        uint32_t cin, uint32_t cout, float *room)
{
    size_t n = (size_t)cin * cout;

    for (unsigned phase = 0; phase < N_PHASES; phase++) {
        for (size_t i = 0; i < n; i += FILTERS)
            add_taps(k, room + 4 * i, w + 9 * i,
                     n - i < FILTERS ? n - i : FILTERS, phase);
        conv2d_pack(k, (char *)dst + phase * phase_bytes(k, cin, cout), room,
                    cin, cout, 2, 2);
    }
}

static struct conv2d_shape phase_shape(const struct conv2d_shape *s,
                                       size_t phase)
{
    struct conv2d_shape p = *s;

    p.up_h = p.oh = s->h;
    p.up_w = p.ow = s->w;
    p.kh = p.kw = 2;
    p.pad_t = phase / 2 == 0;
    p.pad_l = phase % 2 == 0;
    return p;
}

static size_t output_bytes(const struct conv2d_shape *s)
{
    return size_align((size_t)s->n * s->h * s->w * s->cout * sizeof(float), 64);
}

size_t conv2d_phases_scratch(const struct kernel_table *k, unsigned n_threads,
                             const struct conv2d_shape *s,
                             const struct conv2d_kind *kind)
{
    size_t most = 0;

    for (size_t phase = 0; phase < N_PHASES; phase++) {
        struct conv2d_shape p = phase_shape(s, phase);
        size_t n = conv2d_scratch_of(k, n_threads, &p, kind);
        most = n > most ? n : most;
    }
    return output_bytes(s) + most;
}

struct spread {
    const struct conv2d_args *a;
    const float *from; /* [n][h][w][cout] */
    size_t phase;
};

/* Row `row` of the phase, of all pictures, to its places. */
static void spread_row(void *arg, size_t row, unsigned worker)
{
    const struct spread *p = arg;
    const struct conv2d_shape *s = &p->a->s;
    const float *from = p->from + row * s->w * s->cout;
    size_t line = 2 * row + p->phase / 2; /* h lines are 2 h lines */
    size_t at = (line * s->ow + p->phase % 2) * s->cout;
    float *to = p->a->y + at;

    (void)worker;
    for (size_t x = 0; x < s->w; x++) {
        if (!p->a->res) {
            memcpy(to, from, s->cout * sizeof *to);
        } else {
            const float *res = p->a->res + (to - p->a->y);
            for (size_t c = 0; c < s->cout; c++)
                to[c] = from[c] + p->a->out_scale * res[c];
        }
        from += s->cout;
        to += 2 * (size_t)s->cout;
    }
}

void conv2d_phases_run(const struct op_ctx *ctx, const void *conv2d_args)
{
    const struct conv2d_args *a = conv2d_args;
    size_t bytes = phase_bytes(ctx->k, a->s.c0 + a->s.c1, a->s.cout);
    size_t n_out = output_bytes(&a->s);
    struct op_ctx inner = *ctx;

    inner.scratch += n_out;
    inner.scratch_bytes -= n_out;
    for (size_t phase = 0; phase < N_PHASES; phase++) {
        struct conv2d_args one = *a;
        struct spread spread = {a, (const float *)ctx->scratch, phase};
        struct weight_rows rows;

        one.s = phase_shape(&a->s, phase);
        if (a->rows) {
            rows = weight_rows_phase(a->rows, (uint32_t)phase);
            one.rows = &rows;
        } else {
            one.w = (const char *)a->w + phase * bytes;
        }
        one.res = NULL;
        one.y = (float *)ctx->scratch;
        conv2d_run(&inner, &one);
        pool_run(ctx->pool, (size_t)a->s.n * a->s.h, spread_row, &spread);
    }
}
