/* int8_kernels.h - products of 8-bit whole numbers with sums of 32 bits.
 *
 * A row of n floats becomes n whole numbers of -127..127 and one scale:
 *
 *     d = max |x|,  scale = d / 127,  q = x * (127 / d) to nearest even
 *
 * A row smaller than 2^-100 is zeros with scale 0; one that holds an infinity
 * or a NaN is zeros with scale d, so that whatever it meets becomes NaN.
 *
 * tile   C[m][n] = out * (sum * (a_scale[m] * b_scale[n]) + bias + res)
 *
 *     The sum is exact in 32 bits for up to INT8_MAX_K products.  It becomes a
 *     float, rounded to nearest; each operation of the line above is rounded
 *     on its own, in the order written.  So all rungs give the same bits.
 *
 * Operands.  The weights' panel is [k / ku][nr][ku] of int8, zeros behind
 * column n and behind row k.  Rows of A lie as quantise() writes them: int8,
 * or int16 for a rung that multiplies those, or shifted by 128 for one that
 * multiplies unsigned by signed bytes; it takes b_sum, the sums of the
 * panel's columns, to undo the shift.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef KERNELS_INT8_KERNELS_H
#define KERNELS_INT8_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Far below 2^31 / (255 * 127); of the linear layers at hand the widest reads
 * 10,240. */
#define INT8_MAX_K  16384u
#define INT8_MAX_MR 14
#define INT8_MAX_NR 32
#define INT8_MAX_KU 4

/* The bits of 2^-100 and of infinity: magnitudes order like their bits, NaN
 * last. */
#define INT8_TINY     0x0d800000u
#define INT8_INFINITE 0x7f800000u

struct int8_tile {
    const void *a; /* rows of operands, a_row bytes apart                     */
    size_t a_row;
    const float *a_scale;     /* [m]                                         */
    const int8_t *b;          /* panel, 64-byte aligned                      */
    const float *b_scale;     /* [nr]                                        */
    const int32_t *b_sum;     /* [nr]                                        */
    size_t k;                 /* a multiple of ku                            */
    const float *const *bias; /* [m] rows, or NULL                           */
    size_t bias_at;           /* of the tile's first column in those rows    */
    const float *res; /* first element, ldc floats a row, or NULL            */
    float *c;         /* may be res                                          */
    size_t ldc;
    float out;
    unsigned m, n;
};

struct int8_kernels {
    bool is_used;        /* by the layers that the rules give to it           */
    unsigned mr, nr, ku; /* tile rows and columns, k side by side in a panel  */
    unsigned a_bytes;    /* of an operand of A                                */
    /* n floats to operands, zeros behind to a multiple of ku; the scale. */
    float (*quantise)(void *dst, const float *x, size_t n);
    void (*tile)(const struct int8_tile *t);
};

/* Each rung's part of the table; called by the rungs' table files. */
void int8_kernels_scalar(struct int8_kernels *k);
void int8_kernels_avx2(struct int8_kernels *k);
void int8_kernels_avx512vnni(struct int8_kernels *k);

#endif
