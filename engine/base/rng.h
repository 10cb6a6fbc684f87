/* rng.h - random numbers equal to the reference's CPU generator, bit for bit.
 *
 * MT19937 as PyTorch uses it (torch 2.15.0, AVX2 build): the state comes from
 * the low 32 bits of the seed; normal numbers in blocks of 16 by Box-Muller
 * with Cephes log and sincos in fused single precision, fewer than 16 by a
 * scalar path in double that caches its second value.  fmaf() is written out,
 * so every CPU gives the same bits.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint32_t state[624];
    uint32_t index;       /* 0..624: next word; 624: twist first            */
    double cached_normal; /* second value of the scalar path                */
    bool has_cached_normal;
};

void rng_seed(struct rng *rng, uint64_t seed);

uint32_t rng_u32(struct rng *rng);
float rng_uniform_f32(struct rng *rng);  /* [0, 1), 24 bits                  */
double rng_uniform_f64(struct rng *rng); /* [0, 1), 53 bits                  */

/* 0 .. n-1, n >= 1, by modulo as the reference does. */
uint64_t rng_below(struct rng *rng, uint64_t n);

/* torch.randn of a contiguous f32 tensor of n elements. */
void rng_normal_f32(struct rng *rng, float *out, size_t n);

/* torch.rand of a contiguous f32 tensor of n elements. */
void rng_fill_uniform_f32(struct rng *rng, float *out, size_t n);

/* torch.randperm(n); order holds n entries. */
void rng_permutation(struct rng *rng, uint32_t *order, size_t n);

#endif
