/* winograd_gate.c - are transformed weights good enough for bf16 operands?
 *
 * F(2x2) rounds sums of weights and sums of inputs to 8 bits.  For weights of
 * a usual kind that costs half as much again as rounding them directly; for
 * freaks (sums that overflow, or far larger than the weights' own share in the
 * result) it can cost any amount.  So each layer is tried on fixed data: eight
 * outputs, two tiles side by side, of noise that looks like activations.  The
 * verdict depends on the weights and the rung alone.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/winograd.h"

#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "kernels/kernels.h"
#include "ops/weight_rows.h"

#define LIMIT      1e-2 /* of the outputs, in the mean square                */
#define SEED       20u
#define MAX_PANELS 4u
#define TILES      2u  /* side by side                                       */
#define CHUNK      16u /* channels at a time                                 */
#define LANES      8u  /* outputs at a time; divides GEMM_MAX_NR             */
#define IN_W       (2 * TILES + 2)
#define OUTPUTS    (2 * 2 * TILES)

struct gate {
    const struct kernel_table *k;
    /* What was packed of some panels, from one of them on, and the weights
     * that they were packed of, from output `first` on. */
    const char *packed;
    size_t n_panels;
    const float *w;
    uint32_t first;
    uint32_t cin, rows, cols; /* of the file; of this product                */
    bool is_adjoint;
    struct rng rng;
    double error, size; /* sums of squares                                   */
};

/* Noise with the shape of an activation: a tenth below zero. */
static void draw(struct gate *g, float *x, size_t n)
{
    rng_normal_f32(&g->rng, x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] < 0 ? x[i] * 0.125f : x[i];
}

/* Products of a chunk of channels at c0 are added to m[16][TILES][nr]. */
static void add_products(const struct gate *g, size_t panel, uint32_t c0,
                         const float x[4 * IN_W * CHUNK], float *m)
{
    const struct gemm_kernels *k = &g->k->gemm;
    float v[16 * TILES * CHUNK]; /* operands, of at most four bytes           */
    size_t size = dtype_size(k->operand), row = CHUNK * size;
    const void *rows[TILES];

    for (size_t t = 0; t < TILES; t++)
        g->k->wino.input((char *)v + t * row, TILES * CHUNK, x + 2 * t * CHUNK,
                         IN_W * CHUNK, CHUNK, CHUNK);
    for (size_t q = 0; q < 16; q++) {
        float *sums = m + q * TILES * k->nr;
        for (size_t t = 0; t < TILES; t++)
            rows[t] = (const char *)v + (q * TILES + t) * row;
        k->tile(&(struct gemm_tile){
            .a = rows,
            .b = g->packed +
                 (((q * g->n_panels + panel) * g->rows + c0) * k->nr) * size,
            .n_runs = 1,
            .run_len = CHUNK,
            .run_stride = CHUNK,
            .res = sums,
            .c = sums,
            .ldc = k->nr,
            .scale = 1,
            .m = TILES,
            .n = k->nr});
    }
}

/* One tap's share: its weights times what they meet at x, for each output. */
static void add_tap(double *want, const double weights[GEMM_MAX_NR], uint32_t n,
                    const float *x)
{
    for (uint32_t o = 0; o < OUTPUTS; o++) {
        uint32_t at = o / (2 * TILES) * IN_W + o % (2 * TILES);
        double pixel = (double)x[at * CHUNK];
        double *to = want + o * GEMM_MAX_NR;
        for (uint32_t j = 0; j < n; j += LANES)
            for (uint32_t l = 0; l < LANES; l++) /* a count that is known */
                to[j + l] += weights[j + l] * pixel;
    }
}

/* The same directly, in double, to want[OUTPUTS][nr]. */
static void add_wanted(const struct gate *g, uint32_t first, uint32_t n,
                       uint32_t c0, const float x[4 * IN_W * CHUNK],
                       double *want)
{
    double weights[GEMM_MAX_NR] = {0};

    for (uint32_t c = 0; c < CHUNK; c++)
        for (uint32_t tap = 0; tap < 9; tap++) {
            for (uint32_t j = 0; j < n; j++)
                weights[j] = (double)winograd_tap(g->w, g->cin, c0 + c,
                                                  first - g->first + j, tap,
                                                  g->is_adjoint);
            add_tap(want, weights, n,
                    x + (tap / 3 * IN_W + tap % 3) * CHUNK + c);
        }
}

static void compare(struct gate *g, const float *m, const double *want,
                    uint32_t n)
{
    unsigned nr = g->k->gemm.nr;
    float y[OUTPUTS * GEMM_MAX_NR], add[GEMM_MAX_NR] = {0};

    for (size_t t = 0; t < TILES; t++)
        g->k->wino.output(
            &(struct winograd_out){.y = y + 2 * t * nr,
                                   .add = add,
                                   .row_stride = 2 * TILES * (size_t)nr,
                                   .col_stride = nr,
                                   .rows = 2,
                                   .cols = 2,
                                   .c = nr,
                                   .scale = 1,
                                   .m = m + t * nr,
                                   .plane = TILES * (size_t)nr});
    for (uint32_t o = 0; o < OUTPUTS; o++)
        for (uint32_t j = 0; j < n; j++) {
            double w = want[o * GEMM_MAX_NR + j], d = (double)y[o * nr + j] - w;
            g->error += d * d;
            g->size += w * w;
        }
}

/* Panel `panel` of the product, the one at `place` of what is packed. */
static void try_panel(struct gate *g, uint32_t panel, size_t place)
{
    unsigned nr = g->k->gemm.nr;
    uint32_t first = panel * nr;
    uint32_t n = g->cols - first < nr ? g->cols - first : nr;
    float x[4 * IN_W * CHUNK], m[16 * TILES * GEMM_MAX_NR] = {0};
    double want[OUTPUTS * GEMM_MAX_NR] = {0};

    for (uint32_t c = 0; c < g->rows; c += CHUNK) {
        draw(g, x, 4 * IN_W * CHUNK);
        add_products(g, place, c, x, m);
        add_wanted(g, first, n, c, x, want);
    }
    compare(g, m, want, n);
}

static uint32_t panels_of(const struct gate *g)
{
    return (g->cols + g->k->gemm.nr - 1) / g->k->gemm.nr;
}

static uint32_t panel_step(const struct gate *g)
{
    return (panels_of(g) + MAX_PANELS - 1) / MAX_PANELS;
}

static bool is_passed(const struct gate *g)
{
    return g->error <= LIMIT * LIMIT * g->size; /* false for NaN */
}

bool winograd_is_accurate(const struct kernel_table *k, const void *packed,
                          const float *w, uint32_t cin, uint32_t cout,
                          bool is_adjoint)
{
    struct gate g = {
        .k = k,
        .packed = packed,
        .w = w,
        .cin = cin,
        .rows = is_adjoint ? cout : cin,
        .cols = is_adjoint ? cin : cout,
        .is_adjoint = is_adjoint,
    };

    g.n_panels = panels_of(&g);
    rng_seed(&g.rng, SEED);
    for (uint32_t p = 0; p < g.n_panels; p += panel_step(&g))
        try_panel(&g, p, p);
    return is_passed(&g);
}

enum unstir_status winograd_rows_are_accurate(bool *is_accurate,
                                              const struct kernel_table *k,
                                              const struct weight_rows *w)
{
    unsigned nr = k->gemm.nr;
    struct gate g = {
        .k = k, .n_panels = 1, .cin = w->cin, .rows = w->cin, .cols = w->cout};
    size_t floats = (size_t)nr * w->cin * 9;
    char *packed;
    float *rows;

    *is_accurate = false;
    TRY(alloc_aligned(
        &rows, floats * sizeof *rows + winograd_packed_bytes(k, w->cin, nr), 1,
        NULL));
    packed = (char *)(rows + floats);
    g.w = rows;
    g.packed = packed;
    rng_seed(&g.rng, SEED);
    for (uint32_t p = 0; p < panels_of(&g); p += panel_step(&g)) {
        uint32_t n;

        g.first = p * nr;
        n = w->cout - g.first < nr ? w->cout - g.first : nr;
        weight_rows_load(rows, w, g.first, n);
        winograd_pack(k, packed, rows, w->cin, n, false);
        try_panel(&g, p, 0);
    }
    *is_accurate = is_passed(&g);
    alloc_free(rows);
    return UNSTIR_OK;
}
