/* weight_rows.c - panels of operands from rows of files, block by block.
 *
 * A block is some channels of a panel's outputs.  Its lines, tap by tap, stand
 * in the room; steps between taps and points are a cache line more than whole
 * numbers of lines, or all of them would fall into the same few sets of a
 * cache.
 *
 * SPDX-License-Identifier: MIT
 */
#include "ops/weight_rows.h"

#include <string.h>

#include "base/compiler.h"
#include "base/size.h"
#include "kernels/kernels.h"

/* Numbers of a row in a block, at most: 32 channels of 3x3, 256 of 1x1.  Both
 * are whole blocks of the quantised types, or nearly all: weight_rows_fit(). */
#define BLOCK_NUMBERS  288u
#define BLOCK_CHANNELS 256u
#define BLOCK_UNIT     2u /* channels come in pairs: kernels' largest ku    */

/* Points of F(2x2), which are narrowed from floats. */
#define POINTS_F2 16u

/* Floats between neighbouring cache sets. */
#define SKEW 16u

/* What a room holds, in floats: lines, what is made of them, numbers of rows
 * that no kernel can read. */
#define LINES_FLOATS \
    (BLOCK_NUMBERS * GEMM_MAX_NR + BLOCK_NUMBERS / BLOCK_UNIT * SKEW)
#define MADE_FLOATS   (POINTS_F2 * (WEIGHT_FILTER_CHANNELS * GEMM_MAX_NR + SKEW))
#define LOADED_FLOATS (BLOCK_NUMBERS * GEMM_MAX_NR)

struct room {
    float *lines, *made, *loaded;
};

size_t weight_room_bytes(const struct kernel_table *k)
{
    (void)k; /* as large for all */
    return (LINES_FLOATS + MADE_FLOATS + LOADED_FLOATS) * sizeof(float);
}

static struct room room_of(void *memory)
{
    float *p = memory;

    return (struct room){p, p + LINES_FLOATS, p + LINES_FLOATS + MADE_FLOATS};
}

/* -- rows ------------------------------------------------------------------ */

/* Taps of a channel in the rows. */
static uint32_t taps_of(const struct weight_rows *w)
{
    return w->phase == WEIGHT_WHOLE ? w->kh * w->kw : 9;
}

static uint32_t block_channels(uint32_t taps)
{
    uint32_t n = taps == 1 ? BLOCK_CHANNELS : BLOCK_NUMBERS / taps;

    return n / BLOCK_UNIT * BLOCK_UNIT;
}

bool weight_rows_fit(enum dtype type, uint32_t cin, uint32_t taps)
{
    size_t block = dtype_block(type);

    return taps > 0 && block_channels(taps) > 0 &&
           (uint64_t)cin * taps % block == 0 &&
           block_channels(taps) * taps % block == 0;
}

size_t weight_rows_bytes(const struct weight_rows *w)
{
    size_t row = (size_t)w->cin * taps_of(w), n = 0;

    for (size_t i = 0; i < w->n_pieces; i++)
        n += w->pieces[i].n_rows * dtype_bytes(w->pieces[i].type, row);
    return n;
}

struct weight_rows weight_rows_phase(const struct weight_rows *w,
                                     uint32_t phase)
{
    struct weight_rows one = *w;

    one.kh = one.kw = 2;
    one.phase = phase;
    return one;
}

/* Where number `at` of row o begins, and of which type it is. */
static const char *find_row(const struct weight_rows *w, uint32_t o, size_t at,
                            enum dtype *type)
{
    const struct weight_piece *piece = w->pieces;
    size_t row = (size_t)w->cin * taps_of(w);

    for (; o >= piece->n_rows; piece++)
        o -= piece->n_rows;
    *type = piece->type;
    return (const char *)piece->data + o * dtype_bytes(piece->type, row) +
           dtype_bytes(piece->type, at);
}

void weight_rows_load(float *dst, const struct weight_rows *w, uint32_t o,
                      uint32_t n)
{
    size_t row = (size_t)w->cin * taps_of(w);
    enum dtype type;

    for (uint32_t i = 0; i < n; i++, dst += row) {
        const char *from = find_row(w, o + i, 0, &type);

        dtype_load(dst, from, type, row);
    }
}

/* -- lines ----------------------------------------------------------------- */

static bool is_spreadable(enum dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16;
}

/* Channels c .. c + n of outputs o .. o + nr. */
struct block {
    uint32_t o, nr, c, n;
};

/* The rows of a block as pointers of one type: where they lie, or loaded. */
static enum dtype point_at_rows(const void *rows[GEMM_MAX_NR],
                                const struct weight_rows *w,
                                const struct block *b, unsigned n_rows,
                                float *loaded)
{
    size_t taps = taps_of(w), numbers = b->n * taps;
    enum dtype types[GEMM_MAX_NR] = {DTYPE_F32};
    bool is_plain = true;

    for (unsigned j = 0; j < n_rows; j++) {
        rows[j] = find_row(w, b->o + j, b->c * taps, &types[j]);
        is_plain &= types[j] == types[0] && is_spreadable(types[j]);
    }
    if (is_plain)
        return types[0];
    for (unsigned j = 0; j < n_rows; j++, loaded += numbers) {
        dtype_load(loaded, rows[j], types[j], numbers);
        rows[j] = loaded;
    }
    return DTYPE_F32;
}

/* The lines of a block, `step` floats from tap to tap of the rows. */
static void spread(const struct kernel_table *k, float *dst, size_t step,
                   const struct weight_rows *w, const struct block *b,
                   float *loaded)
{
    const void *rows[GEMM_MAX_NR];
    unsigned n = w->cout - b->o < b->nr ? w->cout - b->o : b->nr;
    enum dtype type = point_at_rows(rows, w, b, n, loaded);

    k->weights.spread(&(struct weight_spread){.rows = rows,
                                              .type = type,
                                              .n = n,
                                              .nr = b->nr,
                                              .channels = b->n,
                                              .taps = taps_of(w),
                                              .dst = dst,
                                              .tap_step = step});
}

void weight_narrow_lines(const struct gemm_kernels *g, void *dst,
                         const float *lines, size_t n)
{
    if (g->panel)
        g->panel(dst, lines, g->nr, n, g->nr);
    else
        g->narrow(dst, lines, n * g->nr);
}

/* -- panels ---------------------------------------------------------------- */

/* A block of the panel at dst, whose taps are `tap_bytes` apart. */
static void put_block(const struct kernel_table *k, char *dst, size_t tap_bytes,
                      const struct weight_rows *w, const struct block *b,
                      const struct room *room)
{
    const struct gemm_kernels *g = &k->gemm;
    size_t n = (size_t)b->n * b->nr, step = n + SKEW;
    const float *lines = room->lines;

    if (!g->narrow && taps_of(w) == 1) {
        spread(k, (float *)(void *)dst, 0, w, b, room->loaded);
        return;
    }
    spread(k, room->lines, step, w, b, room->loaded);
    if (w->phase != WEIGHT_WHOLE) {
        k->weights.phase(room->made, step, lines, step, n, w->phase);
        lines = room->made;
    }
    for (uint32_t tap = 0; tap < w->kh * w->kw; tap++, lines += step) {
        if (g->narrow)
            weight_narrow_lines(g, dst + tap * tap_bytes, lines, b->n);
        else
            memcpy(dst + tap * tap_bytes, lines, n * sizeof *lines);
    }
}

void weight_panel(const struct kernel_table *k, void *dst,
                  const struct weight_rows *w, uint32_t p, void *room)
{
    const struct gemm_kernels *g = &k->gemm;
    uint32_t step = block_channels(taps_of(w));
    size_t line = g->nr * dtype_size(g->operand);
    size_t tap_bytes = ((size_t)w->cin + g->ku - 1) / g->ku * g->ku * line;
    struct room parts = room_of(room);

    for (uint32_t c = 0; c < w->cin; c += step) {
        struct block b = {p * g->nr, g->nr, c,
                          w->cin - c < step ? w->cin - c : step};

        put_block(k, (char *)dst + c * line, tap_bytes, w, &b, &parts);
    }
}

/* -- transformed ones ------------------------------------------------------ */

void weight_filters(const struct kernel_table *k, char *dst, size_t plane,
                    const struct weight_rows *w, uint32_t p, uint32_t c,
                    uint32_t n, void *room)
{
    const struct gemm_kernels *g = &k->gemm;
    bool is_f2 = k->wino.edge == 2;
    uint32_t nr = is_f2 ? g->nr : WINOGRAD_PANEL;
    struct block b = {p * nr, nr, c, n};
    size_t floats = (size_t)n * nr, step = floats + SKEW;
    struct room parts = room_of(room);

    spread(k, parts.lines, step, w, &b, parts.loaded);
    if (!is_f2) {
        k->weights.filters_f4((float *)(void *)dst, plane / sizeof(float),
                              parts.lines, step, floats);
        return;
    }
    k->weights.filters_f2(parts.made, step, parts.lines, step, floats);
    for (size_t q = 0; q < POINTS_F2; q++)
        weight_narrow_lines(g, dst + q * plane, parts.made + q * step, n);
}
