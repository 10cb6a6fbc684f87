/* rng.c - MT19937 and the reference's normal transform, bit for bit.
 *
 * The words: Matsumoto and Nishimura, "Mersenne Twister", 1998.  The normal
 * numbers: Box-Muller in single precision with the logarithm and sincos of
 * Cephes (logf.c, sinf.c), every multiply-add that the reference's AVX2 build
 * contracts written as fmaf(), so that the bits do not depend on the CPU.
 *
 * Pitfalls (guarded by tests/unit/t_rng.c): a length that is no multiple of 16
 * draws 16 fresh words for its last 16 places; fewer than 16 numbers take the
 * double path with its cached second value.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/rng.h"

#include <math.h>
#include <string.h>

#define MT_N    624
#define MT_M    397
#define BLOCK   16 /* numbers transformed together */
#define TWO_PI  6.283185307179586476925286766559
#define MASK_24 0xffffffu
#define MASK_53 ((UINT64_C(1) << 53) - 1)

void rng_seed(struct rng *rng, uint64_t seed)
{
    uint32_t *s = rng->state;

    s[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_N; i++)
        s[i] = UINT32_C(1812433253) * (s[i - 1] ^ (s[i - 1] >> 30)) + i;
    rng->index = MT_N;
    rng->cached_normal = 0;
    rng->has_cached_normal = false;
}

static uint32_t twisted(uint32_t high, uint32_t low, uint32_t far)
{
    uint32_t y = (high & 0x80000000u) | (low & 0x7fffffffu);

    return far ^ (y >> 1) ^ ((low & 1) ? 0x9908b0dfu : 0);
}

static void twist(uint32_t *s)
{
    for (int i = 0; i < MT_N - MT_M; i++)
        s[i] = twisted(s[i], s[i + 1], s[i + MT_M]);
    for (int i = MT_N - MT_M; i < MT_N - 1; i++)
        s[i] = twisted(s[i], s[i + 1], s[i + MT_M - MT_N]);
    s[MT_N - 1] = twisted(s[MT_N - 1], s[0], s[MT_M - 1]);
}

uint32_t rng_u32(struct rng *rng)
{
    if (rng->index >= MT_N) {
        twist(rng->state);
        rng->index = 0;
    }

    uint32_t y = rng->state[rng->index++];

    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* The first draw is the high half. */
static uint64_t rng_u64(struct rng *rng)
{
    uint64_t high = rng_u32(rng);

    return high << 32 | rng_u32(rng);
}

float rng_uniform_f32(struct rng *rng)
{
    return (float)(rng_u32(rng) & MASK_24) * 0x1p-24f;
}

double rng_uniform_f64(struct rng *rng)
{
    return (double)(rng_u64(rng) & MASK_53) * 0x1p-53;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return n >> 32 ? rng_u64(rng) % n : rng_u32(rng) % (uint32_t)n;
}

void rng_fill_uniform_f32(struct rng *rng, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = rng_uniform_f32(rng);
}

/* p[0] x^(n-1) + ... + p[n-1], each step fused. */
static float horner(const float *p, int n, float x)
{
    float y = p[0];

    for (int i = 1; i < n; i++)
        y = fmaf(y, x, p[i]);
    return y;
}

/* ln x for x in [2^-24, 1]: x = m 2^e with m in [sqrt(1/2), sqrt(2)). */
static float log_f32(float x)
{
    static const float p[] = {
        7.0376836292E-2f,  -1.1514610310E-1f, 1.1676998740E-1f,
        -1.2420140846E-1f, 1.4249322787E-1f,  -1.6668057665E-1f,
        2.0000714765E-1f,  -2.4999993993E-1f, 3.3333331174E-1f};
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);

    float e = (float)((int32_t)(bits >> 23) - 126);
    float m;

    bits = (bits & 0x007fffffu) | 0x3f000000u;
    memcpy(&m, &bits, sizeof m);
    if (m < 0.707106781186547524f) {
        e -= 1.0f;
        m = (m - 1.0f) + m;
    } else {
        m = m - 1.0f;
    }

    float z = m * m;
    float y = horner(p, 9, m) * m;

    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(-z, 0.5f, y);
    m = m + y;
    return fmaf(e, 0.693359375f, m);
}

/* sin and cos of x in [0, 2 pi): octant, then three-part reduction by pi/4. */
static void sincos_f32(float x, float *out_sin, float *out_cos)
{
    static const float cos_p[] = {2.443315711809948E-005f,
                                  -1.388731625493765E-003f,
                                  4.166664568298827E-002f};
    static const float sin_p[] = {-1.9515295891E-4f, 8.3321608736E-3f,
                                  -1.6666654611E-1f};
    int octant = ((int)(x * 1.27323954473516f) + 1) & ~1;
    float j = (float)octant;

    x = fmaf(j, -0.78515625f, x);
    x = fmaf(j, -2.4187564849853515625e-4f, x);
    x = fmaf(j, -3.77489497744594108e-8f, x);

    float z = x * x;
    float c = fmaf(horner(cos_p, 3, z) * z, z, -(z * 0.5f)) + 1.0f;
    float s = fmaf(horner(sin_p, 3, z) * z, x, x);
    float sine = octant & 2 ? c : s;
    float cosine = octant & 2 ? s : c;

    *out_sin = octant & 4 ? -sine : sine;
    *out_cos = (octant - 2) & 4 ? cosine : -cosine;
}

/* 16 uniform numbers become 16 normal ones: 8 radii, 8 angles. */
static void normal_block(float *d)
{
    for (int i = 0; i < BLOCK / 2; i++) {
        float radius = sqrtf(-2.0f * log_f32(1.0f - d[i]));
        float s, c;

        sincos_f32((float)TWO_PI * d[i + BLOCK / 2], &s, &c);
        d[i] = radius * c;
        d[i + BLOCK / 2] = radius * s;
    }
}

static double normal_f64(struct rng *rng)
{
    if (rng->has_cached_normal) {
        rng->has_cached_normal = false;
        return rng->cached_normal;
    }

    double angle = TWO_PI * rng_uniform_f64(rng);
    double radius = sqrt(-2.0 * log1p(-rng_uniform_f64(rng)));

    rng->cached_normal = radius * sin(angle);
    rng->has_cached_normal = true;
    return radius * cos(angle);
}

void rng_normal_f32(struct rng *rng, float *out, size_t n)
{
    if (n < BLOCK) {
        for (size_t i = 0; i < n; i++)
            out[i] = (float)normal_f64(rng);
        return;
    }
    rng_fill_uniform_f32(rng, out, n);
    for (size_t i = 0; i + BLOCK <= n; i += BLOCK)
        normal_block(out + i);
    if (n % BLOCK) {
        rng_fill_uniform_f32(rng, out + n - BLOCK, BLOCK);
        normal_block(out + n - BLOCK);
    }
}

void rng_permutation(struct rng *rng, uint32_t *order, size_t n)
{
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (size_t i = 0; i + 1 < n; i++) {
        size_t j = i + rng_u32(rng) % (uint32_t)(n - i);
        uint32_t swapped = order[i];

        order[i] = order[j];
        order[j] = swapped;
    }
}
