/* winograd_pack.c - 3x3 weights to the operands of Winograd's products.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "kernels/kernels.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"

static bool is_f2(const struct kernel_table *k)
{
    return k->wino.edge == 2;
}

uint32_t winograd_panel_width(const struct kernel_table *k)
{
    return is_f2(k) ? k->gemm.nr : WINOGRAD_PANEL;
}

size_t winograd_packed_bytes(const struct kernel_table *k, uint32_t cin,
                             uint32_t cout)
{
    size_t panel = winograd_panel_width(k);
    size_t n = (cout + panel - 1) / panel * panel;

    return is_f2(k) ? 16 * n * cin * dtype_size(k->gemm.operand)
                    : 36 * n * cin * sizeof(float);
}

float winograd_tap(const float *w, uint32_t cin, uint32_t in, uint32_t out,
                   uint32_t tap, bool is_adjoint)
{
    return is_adjoint ? w[((size_t)in * cin + out) * 9 + 8 - tap]
                      : w[((size_t)out * cin + in) * 9 + tap];
}

/* Of packing: rows and columns are the product's, cin the file's. */
struct packing {
    const struct kernel_table *k;
    const float *w;
    uint32_t cin, rows, cols;
    bool is_adjoint;
};

/* A pair of channels, c and the next, or c alone. */
#define LINE_FLOATS (2 * GEMM_MAX_NR)

/* Taps of n channels from c on, nr outputs from o on side by side. */
static void fill_lines(float lines[9][LINE_FLOATS], const struct packing *p,
                       uint32_t o, uint32_t nr, uint32_t c, uint32_t n)
{
    for (uint32_t tap = 0; tap < 9; tap++)
        for (uint32_t i = 0; i < n * nr; i++) {
            uint32_t out = o + i % nr;

            lines[tap][i] = out < p->cols
                                ? winograd_tap(p->w, p->cin, c + i / nr, out,
                                               tap, p->is_adjoint)
                                : 0.0F;
        }
}

static void pack_f4(float *dst, const struct packing *p)
{
    size_t n16 =
        (p->cols + WINOGRAD_PANEL - 1) / WINOGRAD_PANEL * WINOGRAD_PANEL;
    float lines[9][LINE_FLOATS];

    for (uint32_t o = 0; o < p->cols; o += WINOGRAD_PANEL)
        for (uint32_t c = 0; c < p->rows; c++, dst += WINOGRAD_PANEL) {
            fill_lines(lines, p, o, WINOGRAD_PANEL, c, 1);
            p->k->weights.filters_f4(dst, n16 * p->rows, lines[0], LINE_FLOATS,
                                     WINOGRAD_PANEL);
        }
}

/* All 16 points: U[16][N / nr][rows / ku][nr][ku]. */
static void pack_f2(char *dst, const struct packing *p)
{
    const struct gemm_kernels *g = &p->k->gemm;
    size_t n_panels = (p->cols + g->nr - 1) / g->nr,
           size = dtype_size(g->operand);
    size_t plane = n_panels * g->nr * p->rows * size;
    float lines[9][LINE_FLOATS], u[16][LINE_FLOATS];

    for (uint32_t o = 0; o < p->cols; o += g->nr)
        for (uint32_t c = 0; c < p->rows; c += g->ku) {
            fill_lines(lines, p, o, g->nr, c, g->ku);
            p->k->weights.filters_f2(u[0], LINE_FLOATS, lines[0], LINE_FLOATS,
                                     (size_t)g->ku * g->nr);
            for (size_t q = 0; q < 16; q++)
                weight_narrow_lines(g, dst + q * plane, u[q], g->ku);
            dst += g->ku * g->nr * size;
        }
}

void winograd_pack(const struct kernel_table *k, void *dst, const float *w,
                   uint32_t cin, uint32_t cout, bool is_adjoint)
{
    struct packing p = {
        k,         w, cin, is_adjoint ? cout : cin, is_adjoint ? cin : cout,
        is_adjoint};

    if (is_f2(k))
        pack_f2(dst, &p);
    else
        pack_f4(dst, &p);
}

void winograd_pack_rows(const struct kernel_table *k, void *dst,
                        const struct weight_rows *rows, void *room)
{
    size_t size = is_f2(k) ? dtype_size(k->gemm.operand) : sizeof(float);
    uint32_t nr = winograd_panel_width(k), n = (rows->cout + nr - 1) / nr;
    size_t line = nr * size, panel = line * rows->cin;

    for (uint32_t p = 0; p < n; p++)
        for (uint32_t c = 0, step; c < rows->cin; c += step) {
            step = rows->cin - c < WEIGHT_FILTER_CHANNELS
                       ? rows->cin - c
                       : WEIGHT_FILTER_CHANNELS;
            weight_filters(k, (char *)dst + p * panel + c * line, n * panel,
                           rows, p, c, step, room);
        }
}
