/* golden.h - recorded inputs, weights and outputs of the reference.
 *
 * A golden is a safetensors file: "in.*" and "out.*" in the reference's
 * [n][c][h][w], weights "w.*" (or none: drawn by the rule of network_draw),
 * and metadata.  Activations are handed out as [n][h][w][c].
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_GOLDEN_H
#define SUPPORT_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

struct unstir_generation;
struct weights;

struct golden_tensor {
    uint32_t n, c, h, w; /* of rank 2: h = w = 1; of rank 1: c = 1 too       */
    size_t n_floats;
    float *data; /* NHWC, f32; golden_tensor_fini()                          */
};

/* Fails the running test if the file or a tensor is not there. */
struct weights *golden_open(const char *path);
/* tests/data/<folder>/<name>.safetensors */
struct weights *golden_open_named(const char *folder, const char *name);
struct golden_tensor golden_get(const struct weights *golden, const char *name);
/* Of rank 3: tokens [n][len][c] as they lie, h = 1 and w = len. */
struct golden_tensor golden_tokens(const struct weights *golden,
                                   const char *name);
bool golden_has(const struct weights *golden, const char *name);
void golden_tensor_fini(struct golden_tensor *t);

/* [n][h][w][c] from [n][c][h][w]. */
void golden_to_nhwc(float *dst, const float *src, uint32_t n, uint32_t c,
                    uint32_t h, uint32_t w);

/* The tensors "w.*" as a checkpoint without that prefix; *bytes outlives it
 * and is ended by alloc_free(). */
struct weights *golden_weights(const struct weights *golden,
                               unsigned char **bytes);

/* max |got - wanted| / max |wanted|, and the same in the L2 norm. */
double golden_max_error(const float *got, const float *wanted, size_t n);
double golden_l2_error(const float *got, const float *wanted, size_t n);

/* Decibels from the mean square of the error up to that of the range of the
 * wanted numbers. */
double golden_psnr(const float *got, const float *wanted, size_t n);

/* Print and fail unless error <= tolerance; a NaN fails. */
void golden_check(const char *what, double error, double tolerance);

/* A picture beside the reference's: bytes may be off by rounding, 99 of 100 by
 * 1 at most and none by more than 3. */
struct golden_bytes {
    size_t n, n_off;
    int worst;
};
void golden_count_byte(struct golden_bytes *b, int got, int wanted);
/* Print and fail unless that holds. */
void golden_check_bytes(const char *what, const struct golden_bytes *b);

/* The finished picture, `wanted` as [channels][height][width] of n bytes. */
void golden_check_picture(const char *what, const struct unstir_generation *g,
                          const float *wanted, size_t n);

/* "<row>.<what>" as it lies in the file. */
const float *golden_floats(const struct weights *golden, size_t row,
                           const char *what, size_t *n);

/* Rungs this machine can run, lowest first; NULL after the last. */
const char *golden_rung(size_t i);

#endif
