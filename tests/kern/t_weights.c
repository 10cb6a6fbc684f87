/* t_weights.c - weights that are read where a file has them: the same operands
 * and the same results as packed ones, bit for bit, on every rung.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/size.h"
#include "ops/choose.h"
#include "ops/conv2d.h"
#include "ops/conv2d_phases.h"
#include "ops/weight_rows.h"
#include "ops/winograd.h"
#include "tables.h"

#define MAX_TABLES 16

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, size_align(bytes ? bytes : 1, 64));

    assert_non_null(p);
    memset(p, 0xa5, size_align(bytes ? bytes : 1, 64));
    return p;
}

static float *noise(size_t n, uint64_t seed)
{
    float *x = room(n * sizeof *x);
    struct rng rng;

    rng_seed(&rng, seed);
    rng_normal_f32(&rng, x, n);
    return x;
}

/* -- kernels against their plain twins --------------------------------------- */

static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

/* Rows of all lengths, at odd addresses, whose last byte is the memory's. */
static void check_spread(const struct kernel_table *k, enum dtype type,
                         unsigned n, unsigned nr, size_t channels, size_t taps)
{
    size_t numbers = channels * taps, row = numbers * dtype_size(type);
    size_t step = channels * nr + 16, all = taps * step;
    float *x = noise(n * numbers, 1), *got = room(all * sizeof *got);
    float *want = room(all * sizeof *want);
    const void *rows[GEMM_MAX_NR];
    char *bytes[GEMM_MAX_NR];
    struct weight_kernels twin;
    struct weight_spread s = {rows, type, n, nr, channels, taps, want, step};

    for (unsigned j = 0; j < n; j++) {
        bytes[j] = malloc(row + 1);
        assert_non_null(bytes[j]);
        dtype_store(bytes[j] + 1, type, x + j * numbers, numbers);
        rows[j] = bytes[j] + 1;
    }
    weight_kernels_scalar(&twin);
    twin.spread(&s);
    s.dst = got;
    k->weights.spread(&s);
    if (memcmp(want, got, all * sizeof *got) != 0)
        fail_msg("%s: %u of %u rows of %zu x %zu %s are spread wrongly", k->isa,
                 n, nr, channels, taps, dtype_name(type));
    for (unsigned j = 0; j < n; j++)
        free(bytes[j]);
    free(want);
    free(got);
    free(x);
}

static void check_transforms(const struct kernel_table *k)
{
    const size_t n = 40, step = 48;
    float *w = noise(9 * step, 2), *want = room(36 * step * sizeof *want);
    float *got = room(36 * step * sizeof *got);
    struct weight_kernels twin;

    weight_kernels_scalar(&twin);
    twin.filters_f4(want, step, w, step, n);
    k->weights.filters_f4(got, step, w, step, n);
    assert_memory_equal(want, got, 36 * step * sizeof *got);
    twin.filters_f2(want, step, w, step, n);
    k->weights.filters_f2(got, step, w, step, n);
    assert_memory_equal(want, got, 36 * step * sizeof *got);
    for (unsigned phase = 0; phase < 4; phase++) {
        twin.phase(want, step, w, step, n, phase);
        k->weights.phase(got, step, w, step, n, phase);
        assert_memory_equal(want, got, 36 * step * sizeof *got);
    }
    free(got);
    free(want);
    free(w);
}

static void kernels_are_their_twins(void **state)
{
    struct kernel_table tables[MAX_TABLES];
    size_t n = tables_all(tables);

    (void)state;
    for (size_t i = 0; i < n; i++) {
        for (size_t t = 0; t < ARRAY_LEN(types); t++) {
            check_spread(&tables[i], types[t], 16, 16, 5, 9);
            check_spread(&tables[i], types[t], 16, 16, 16, 1);
            check_spread(&tables[i], types[t], 5, 8, 7, 1);
            check_spread(&tables[i], types[t], 13, 16, 3, 4);
            check_spread(&tables[i], types[t], 32, 32, 9, 1);
            check_spread(&tables[i], types[t], 17, 32, 1, 9);
        }
        check_transforms(&tables[i]);
    }
}

/* -- products ---------------------------------------------------------------- */

/* Weights [cout][cin][kernel][kernel] as a file has them: two pieces of types
 * of their own, at odd addresses; and the same numbers as floats. */
struct file {
    char *bytes[2];
    struct weight_piece pieces[2];
    struct weight_rows rows;
    float *floats;
};

static void file_init(struct file *f, uint32_t cin, uint32_t cout,
                      uint32_t kernel, enum dtype first, enum dtype second,
                      uint32_t split)
{
    size_t row = (size_t)cin * kernel * kernel;
    enum dtype type[2] = {first, second};
    uint32_t n[2] = {split, cout - split};
    float *from = f->floats = noise(cout * row, 3);

    for (size_t i = 0; i < 2; i++) {
        f->bytes[i] = malloc(n[i] * row * sizeof(double) + 1);
        assert_non_null(f->bytes[i]);
        for (size_t j = 0; j < n[i] * row; j++)
            from[j] *= 0.125F;
        dtype_store(f->bytes[i] + 1, type[i], from, n[i] * row);
        dtype_load(from, f->bytes[i] + 1, type[i], n[i] * row);
        from += n[i] * row;
        f->pieces[i] = (struct weight_piece){f->bytes[i] + 1, type[i], n[i]};
    }
    f->rows = (struct weight_rows){f->pieces, 2,      cin,          cout,
                                   kernel,    kernel, WEIGHT_WHOLE, false};
}

static void file_fini(struct file *f)
{
    free(f->bytes[0]);
    free(f->bytes[1]);
    free(f->floats);
}

struct row {
    uint32_t n, edge, cin, cout, kernel, stride;
    bool has_up;
    enum dtype first, second;
    uint32_t split;
};

static const struct row rows[] = {
    /* linear and 1x1: tails, mixed types, many rows, many columns */
    {1, 1, 24, 40, 1, 1, false, DTYPE_F16, DTYPE_F16, 16},
    {3, 9, 33, 50, 1, 1, false, DTYPE_F16, DTYPE_F32, 19},
    {2, 17, 64, 96, 1, 1, false, DTYPE_BF16, DTYPE_F16, 32},
    {1, 40, 520, 64, 1, 1, false, DTYPE_F8_E4M3, DTYPE_F64, 9},
    /* direct 3x3: strided, small, odd channels */
    {2, 8, 20, 24, 3, 2, false, DTYPE_F16, DTYPE_BF16, 8},
    {1, 4, 48, 40, 3, 1, false, DTYPE_F32, DTYPE_F32, 3},
    {9, 4, 40, 40, 3, 1, false, DTYPE_F16, DTYPE_F16, 8},
    {1, 6, 13, 21, 3, 1, false, DTYPE_F16, DTYPE_F16, 16},
    {1, 6, 8, 16, 2, 1, false, DTYPE_F16, DTYPE_F16, 8},
    /* Winograd: few tiles and several slices; by blocks; F(2x2) */
    {1, 8, 128, 272, 3, 1, false, DTYPE_F16, DTYPE_F16, 80},
    {1, 19, 64, 48, 3, 1, false, DTYPE_F16, DTYPE_F32, 24},
    {12, 16, 16, 32, 3, 1, false, DTYPE_BF16, DTYPE_BF16, 16},
    /* phases after an upsampling, and Winograd after a larger one */
    {1, 12, 24, 40, 3, 1, true, DTYPE_F16, DTYPE_F16, 20},
    {1, 40, 32, 32, 3, 1, true, DTYPE_F16, DTYPE_F16, 16},
};

static struct conv2d_shape shape_of(const struct row *r)
{
    uint32_t from = r->has_up ? r->edge / 2 : r->edge,
             pad = (r->kernel - 1) / 2;

    return (struct conv2d_shape){
        .n = r->n,
        .h = from,
        .w = from,
        .c0 = r->cin,
        .up_h = r->edge,
        .up_w = r->edge,
        .cout = r->cout,
        .kh = r->kernel,
        .kw = r->kernel,
        .stride = r->stride,
        .pad_t = pad,
        .pad_l = pad,
        .oh = (r->edge + r->stride - 1) / r->stride,
        .ow = (r->edge + r->stride - 1) / r->stride,
    };
}

/* The product of args, its scratch as large as it asks and guarded. */
static float *product(const struct kernel_table *k, unsigned n_threads,
                      struct conv2d_args a, bool is_phases)
{
    const struct conv2d_kind kind = {.is_plain = !a.scale && a.act == ACT_NONE,
                                     .has_rows = a.rows != NULL};
    size_t n_y = (size_t)a.s.n * a.s.oh * a.s.ow * a.s.cout;
    size_t bytes = is_phases ? conv2d_phases_scratch(k, n_threads, &a.s, &kind)
                             : conv2d_scratch_of(k, n_threads, &a.s, &kind);
    unsigned char *scratch = room(bytes + 64);
    struct pool *pool = NULL;

    if (n_threads > 1)
        assert_int_equal(pool_new(&pool, n_threads, 0, NULL), UNSTIR_OK);
    a.y = room(n_y * sizeof *a.y);
    (is_phases ? conv2d_phases_run
               : conv2d_run)(&(struct op_ctx){k, pool, scratch, bytes}, &a);
    for (size_t i = bytes; i < bytes + 64; i++)
        assert_int_equal(scratch[i], 0xa5);
    pool_free(pool);
    free(scratch);
    return a.y;
}

static void check_product(const struct kernel_table *k, const struct row *r)
{
    struct file f;
    struct conv2d_args a = {.s = shape_of(r), .out_scale = 0.5F};
    bool is_phases = choose_conv(k, &a.s, r->has_up) == CONV_PHASES;
    size_t n_x = (size_t)r->n * a.s.h * a.s.w * r->cin;
    size_t n_y = (size_t)r->n * a.s.oh * a.s.ow * r->cout;
    float *x = noise(n_x, 4), *vec = noise((size_t)r->n * r->cout, 5);
    void *packed =
        room(is_phases ? conv2d_phases_packed_bytes(k, r->cin, r->cout)
                       : conv2d_packed_bytes(k, r->cin, r->cout, r->kernel,
                                             r->kernel));
    float *sums = room((size_t)4 * r->cin * r->cout * sizeof *sums);
    float *want, *got;

    file_init(&f, r->cin, r->cout, r->kernel, r->first, r->second, r->split);
    a.x0 = x;
    a.vec = vec;
    a.vec_stride = r->cout;
    a.w = packed;
    if (is_phases)
        conv2d_phases_pack(k, packed, f.floats, r->cin, r->cout, sums);
    else
        conv2d_pack(k, packed, f.floats, r->cin, r->cout, r->kernel, r->kernel);
    want = product(k, 1, a, is_phases);
    a.w = NULL;
    a.rows = &f.rows;
    for (unsigned n_threads = 1; n_threads <= 3; n_threads += 2) {
        got = product(k, n_threads, a, is_phases);
        if (memcmp(want, got, n_y * sizeof *got) != 0)
            fail_msg("%s, %u threads: %u of %u x %u, %u -> %u give other "
                     "bits than packed weights",
                     k->isa, n_threads, r->n, r->edge, r->edge, r->cin,
                     r->cout);
        free(got);
    }
    free(want);
    free(sums);
    free(packed);
    free(vec);
    free(x);
    file_fini(&f);
}

static void rows_give_the_bits_of_packed_weights(void **state)
{
    struct kernel_table tables[MAX_TABLES];
    size_t n = tables_all(tables);

    (void)state;
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < ARRAY_LEN(rows); r++)
            if (conv2d_reads_rows(&tables[i], rows[r].cin, rows[r].cout))
                check_product(&tables[i], &rows[r]);
}

/* Patches that do not fit into scratch at once, by passes of blocks, the last
 * ones short; rows of many blocks, by several panels, the last ones fewer. */
static void many_rows_give_the_bits_of_packed_weights(void **state)
{
    static const struct row many[] = {
        {3, 93, 40, 72, 3, 1, false, DTYPE_F16, DTYPE_F16, 16},
        {1, 20, 2408, 40, 3, 1, false, DTYPE_F16, DTYPE_BF16, 8},
        {1, 36, 40, 330, 1, 1, false, DTYPE_F16, DTYPE_F16, 16},
        {1, 40, 2600, 90, 1, 1, false, DTYPE_F16, DTYPE_F32, 32},
    };
    struct kernel_table k;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        if (tables_select(&k, "avx2"))
            check_product(&k, &many[i]);
}

/* The gate looks at the same numbers and says the same. */
static void the_gate_has_one_verdict(void **state)
{
    static const char *const isas[] = {"avx2 bf16", "emulated"};

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(isas); i++) {
        struct file f;
        struct kernel_table k;
        bool is_good, wanted;
        void *packed;

        file_init(&f, 64, 160, 3, DTYPE_F32, DTYPE_F32, 32);
        if (tables_select(&k, isas[i / 2])) {
            if (i % 2) /* sums of taps beyond the largest float */
                for (size_t j = 0; j < (size_t)64 * 160 * 9; j++)
                    f.floats[j] = 3e38F;
            for (size_t j = 0; j < 2; j++)
                memcpy(f.bytes[j] + 1, f.floats + j * 32 * 64 * 9,
                       (size_t)f.pieces[j].n_rows * 64 * 9 * sizeof(float));
            packed = room(winograd_packed_bytes(&k, 64, 160));
            winograd_pack(&k, packed, f.floats, 64, 160, false);
            wanted = winograd_is_accurate(&k, packed, f.floats, 64, 160, false);
            assert_int_equal(winograd_rows_are_accurate(&is_good, &k, &f.rows),
                             UNSTIR_OK);
            assert_int_equal(is_good, wanted);
            assert_int_equal(wanted, i % 2 == 0);
            free(packed);
        }
        file_fini(&f);
    }
}

/* -- large images ------------------------------------------------------------ */

/* Banded or whole, an output row has the same bits: those of a picture that is
 * too small for bands, away from where it ends. */
static void bands_give_the_bits_of_whole_images(void **state)
{
    enum { W = 384, H = 720, LOW = 100, C = 64, COUT = 3 };
    struct kernel_table k;
    float *x = noise((size_t)H * W * C, 6), *scale = noise(C, 7);
    float *w = noise((size_t)COUT * C * 9, 8), *tall, *low;
    struct conv2d_args a = {
        .s = {1, H, W, C, 0, H, W, COUT, 3, 3, 1, 1, 1, H, W},
        .act = ACT_SILU,
        .out_scale = 1,
        .x0 = x,
        .scale = scale,
        .shift = scale};
    void *packed;

    (void)state;
    assert_true(kernels_select(&k, NULL));
    packed = room(conv2d_packed_bytes(&k, C, COUT, 3, 3));
    conv2d_pack(&k, packed, w, C, COUT, 3, 3);
    a.w = packed;
    assert_true(conv2d_scratch(&k, 1, &a.s) < (size_t)16 << 20);
    tall = product(&k, 3, a, false);
    a.s.h = a.s.up_h = a.s.oh = LOW;
    low = product(&k, 1, a, false);
    assert_memory_equal(tall, low, (size_t)(LOW - 1) * W * COUT * sizeof *tall);
    free(tall);
    free(low);
    free(packed);
    free(w);
    free(scale);
    free(x);
}

/* A line of pixels that is packed in pieces has the bits of one that is not. */
static void pieces_give_the_bits_of_whole_lines(void **state)
{
    enum { W = 262200, LOW = 1000, C = 66, COUT = 20 };
    struct kernel_table k;
    float *x = noise((size_t)W * C, 6), *scale = noise(C, 7);
    float *w = noise((size_t)COUT * C, 8), *tall, *low;
    struct conv2d_args a = {
        .s = {1, 1, W, 34, C - 34, 1, W, COUT, 1, 1, 1, 0, 0, 1, W},
        .act = ACT_SILU,
        .out_scale = 1,
        .x0 = x,
        .x1 = x + (size_t)W * 34,
        .scale = scale,
        .shift = scale};
    void *packed;

    (void)state;
    assert_true(kernels_select(&k, NULL));
    packed = room(conv2d_packed_bytes(&k, C, COUT, 1, 1));
    conv2d_pack(&k, packed, w, C, COUT, 1, 1);
    a.w = packed;
    assert_true(conv2d_scratch(&k, 1, &a.s) < (size_t)16 << 20);
    tall = product(&k, 3, a, false);
    for (size_t at = 0; at + LOW <= W; at += (W - LOW) / 4) {
        struct conv2d_args part = a;

        part.x0 += at * 34;
        part.x1 += at * (C - 34);
        part.s.w = part.s.up_w = part.s.ow = LOW;
        low = product(&k, 1, part, false);
        assert_memory_equal(tall + at * COUT, low, LOW * COUT * sizeof *low);
        free(low);
    }
    free(tall);
    free(packed);
    free(w);
    free(scale);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_their_twins),
        cmocka_unit_test(rows_give_the_bits_of_packed_weights),
        cmocka_unit_test(many_rows_give_the_bits_of_packed_weights),
        cmocka_unit_test(the_gate_has_one_verdict),
        cmocka_unit_test(bands_give_the_bits_of_whole_images),
        cmocka_unit_test(pieces_give_the_bits_of_whole_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
