/* attention_scalar.c - the steps of attention in plain C, as it is specified.
 *
 * Operands are the upper halves of floats.
 *
 * SPDX-License-Identifier: MIT
 */
#include "kernels/attention_kernels.h"

#include <math.h>
#include <string.h>

#include "kernels/bf16_loops.h"

#define COLS ATTENTION_COLS

static uint16_t operand_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bf16_round_bits(bits) >> 16);
}

static float value_of(uint16_t operand)
{
    uint32_t bits = (uint32_t)operand << 16;
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Where a panel has row i, column j. */
static size_t place_of(size_t i, size_t j)
{
    return (i / 2 * COLS + j) * 2 + i % 2;
}

static void queries(void *panel, size_t n, size_t d, const float *q, size_t ldq,
                    float alpha)
{
    uint16_t *to = panel;

    memset(to, 0, (d + 1) / 2 * 2 * COLS * sizeof *to);
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < n; j++)
            to[place_of(i, j)] = operand_of(alpha * q[j * ldq + i]);
}

static void values(void *block, size_t pitch, size_t n, size_t d,
                   const float *v, size_t ldv)
{
    uint16_t *to = block;

    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < pitch; j++)
            to[i * pitch + j] = j < n ? operand_of(v[j * ldv + i]) : 0;
}

/* Row i of the rows times column j of the panel, behind x. */
static float add_products(const struct attention_product *p, size_t i, size_t j,
                          float x)
{
    const uint16_t *row = (const uint16_t *)p->rows + i * p->pitch;
    const uint16_t *panel = p->panel;

    for (size_t k = 0; k < p->k; k++)
        x += value_of(row[k]) * value_of(panel[place_of(k, j)]);
    return x;
}

static void scores(const struct attention_product *p, const float *max,
                   float *s)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < COLS; j++)
            s[i * COLS + j] = add_products(p, i, j, -max[j]);
}

static bool softmax(size_t rows, size_t n, const float *s,
                    struct attention_sums *sums, void *panel)
{
    uint16_t *to = panel;
    bool has_moved = false;

    for (size_t j = 0; j < n; j++) {
        sums->factor[j] = exp2f(fminf(-sums->top[j], 0));
        sums->sum[j] *= sums->factor[j];
        sums->max[j] += sums->top[j];
        has_moved |= sums->factor[j] != 1;
    }
    /* Row by row: a panel's row may lie over scores that are read by then. */
    for (size_t i = 0; i < rows; i += 2) {
        float p[2][COLS] = {{0}};

        for (size_t r = 0; r < 2 && i + r < rows; r++)
            for (size_t j = 0; j < n; j++) {
                p[r][j] = exp2f(s[(i + r) * COLS + j] - sums->top[j]);
                sums->sum[j] += p[r][j];
            }
        for (size_t j = 0; j < n; j++) {
            to[place_of(i, j)] = operand_of(p[0][j]);
            to[place_of(i + 1, j)] = operand_of(p[1][j]);
        }
    }
    return has_moved;
}

static bool powers(const struct attention_product *p, size_t n,
                   struct attention_sums *sums, void *panel)
{
    uint16_t *to = panel;
    bool is_far = false;

    for (size_t j = 0; j < COLS; j++) {
        sums->total[j] = 0;
        for (size_t i = 0; i < (p->m + 1) / 2 * 2; i++) {
            float x = 0;

            if (i < p->m)
                x = exp2f(add_products(p, i, j, -sums->max[j]));
            sums->total[j] += x;
            to[place_of(i, j)] = operand_of(x);
        }
        is_far |= j < n && !attention_is_near(sums, j);
    }
    for (size_t j = 0; j < n && !is_far; j++)
        sums->sum[j] += sums->total[j];
    return !is_far;
}

static void weigh(const struct attention_product *p, const float *factor,
                  float *o)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < COLS; j++) {
            float *x = &o[i * COLS + j];

            *x = add_products(p, i, j, factor ? *x * factor[j] : *x);
        }
}

static void outputs(size_t d, size_t n, const float *o, const float *sum,
                    float *out, size_t ldo)
{
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < n; j++)
            out[j * ldo + i] = o[i * COLS + j] * (1 / sum[j]);
}

void attention_kernels_scalar(struct attention_kernels *a)
{
    *a = (struct attention_kernels){.queries = queries,
                                    .values = values,
                                    .scores = scores,
                                    .softmax = softmax,
                                    .powers = powers,
                                    .weigh = weigh,
                                    .outputs = outputs};
}
