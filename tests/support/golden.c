/* golden.c - recorded inputs, weights and outputs of the reference.
 *
 * SPDX-License-Identifier: MIT
 */
#include "golden.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "must.h"
#include "unstir.h"

struct weights *golden_open(const char *path)
{
    struct unstir_error err = {0};
    struct weights *w;

    if (safetensors_open(&w, path, &err) != UNSTIR_OK)
        fail_msg("%s: %s", path, err.detail);
    return w;
}

struct weights *golden_open_named(const char *folder, const char *name)
{
    char path[160];

    snprintf(path, sizeof path, "tests/data/%s/%s.safetensors", folder, name);
    return golden_open(path);
}

bool golden_has(const struct weights *golden, const char *name)
{
    return weights_find(golden, name) != NULL;
}

void golden_to_nhwc(float *dst, const float *src, uint32_t n, uint32_t c,
                    uint32_t h, uint32_t w)
{
    size_t hw = (size_t)h * w;

    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c; j++)
            for (size_t p = 0; p < hw; p++)
                dst[(i * hw + p) * c + j] = src[(i * c + j) * hw + p];
}

/* Whole numbers of goldens are small: exact in f32. */
static void load_floats(float *dst, const struct tensor_view *t)
{
    if (t->dtype != DTYPE_I64) {
        dtype_load(dst, t->data, t->dtype, t->n);
        return;
    }
    for (size_t i = 0; i < t->n; i++) {
        int64_t v;

        memcpy(&v, (const char *)t->data + i * sizeof v, sizeof v);
        dst[i] = (float)v;
    }
}

struct golden_tensor golden_get(const struct weights *golden, const char *name)
{
    const struct tensor_view *t = weights_find(golden, name);
    struct golden_tensor out = {1, 1, 1, 1, 0, NULL};
    uint32_t *dims[] = {&out.n, &out.c, &out.h, &out.w};
    void *raw, *data;

    if (!t)
        fail_msg("no tensor %s", name);
    for (uint32_t i = 0; i < t->rank && i < 4; i++)
        *dims[i] = (uint32_t)t->dims[i];
    out.n_floats = t->n;
    assert_int_equal(alloc_zero(&raw, t->n, sizeof(float), NULL), UNSTIR_OK);
    assert_int_equal(alloc_aligned(&data, t->n, sizeof(float), NULL),
                     UNSTIR_OK);
    load_floats(raw, t);
    golden_to_nhwc(data, raw, out.n, out.c, out.h, out.w);
    alloc_free(raw);
    out.data = data;
    return out;
}

struct golden_tensor golden_tokens(const struct weights *golden,
                                   const char *name)
{
    const struct tensor_view *t = weights_find(golden, name);
    struct golden_tensor out = {.h = 1};
    void *data;

    if (!t || t->rank != 3)
        fail_msg("no tokens %s", name);
    out.n = (uint32_t)t->dims[0];
    out.w = (uint32_t)t->dims[1];
    out.c = (uint32_t)t->dims[2];
    out.n_floats = t->n;
    assert_int_equal(alloc_aligned(&data, t->n, sizeof(float), NULL),
                     UNSTIR_OK);
    load_floats(data, t);
    out.data = data;
    return out;
}

void golden_tensor_fini(struct golden_tensor *t)
{
    alloc_free(t->data);
    t->data = NULL;
}

struct weights *golden_weights(const struct weights *golden,
                               unsigned char **bytes)
{
    struct safetensors_entry *entries;
    struct unstir_error err = {0};
    struct weights *out;
    size_t n = 0, n_bytes;
    void *p;

    assert_int_equal(alloc_zero(&p, weights_len(golden), sizeof *entries, NULL),
                     UNSTIR_OK);
    entries = p;
    for (size_t i = 0; i < weights_len(golden); i++) {
        const struct tensor_view *t = weights_at(golden, i);

        if (strncmp(t->name, "w.", 2) != 0)
            continue;
        entries[n] = (struct safetensors_entry){
            .name = t->name + 2,
            .dtype = t->dtype,
            .rank = t->rank,
            .data = t->data,
        };
        memcpy(entries[n++].dims, t->dims, sizeof entries[0].dims);
    }
    if (safetensors_build(bytes, &n_bytes, entries, n, NULL, 0, &err) ||
        safetensors_parse(&out, *bytes, n_bytes, "weights", &err))
        fail_msg("%s", err.detail);
    alloc_free(entries);
    return out;
}

double golden_max_error(const float *got, const float *wanted, size_t n)
{
    double worst = 0, largest = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - wanted[i]);

        if (!(d <= worst)) /* a NaN gets through */
            worst = d;
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    return worst / largest;
}

double golden_l2_error(const float *got, const float *wanted, size_t n)
{
    double sum = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - wanted[i];

        sum += d * d;
        norm += (double)wanted[i] * wanted[i];
    }
    return sqrt(sum / norm);
}

double golden_psnr(const float *got, const float *wanted, size_t n)
{
    double low = INFINITY, high = -INFINITY, error = 0;

    for (size_t i = 0; i < n; i++) {
        low = fmin(low, (double)wanted[i]);
        high = fmax(high, (double)wanted[i]);
        error += pow((double)got[i] - (double)wanted[i], 2);
    }
    return 10 * log10((high - low) * (high - low) * (double)n / error);
}

void golden_check(const char *what, double error, double tolerance)
{
    printf("    %-44s error %.2e, allowed %.1e\n", what, error, tolerance);
    if (!(error <= tolerance))
        fail_msg("%s: error %.3e, allowed %.1e", what, error, tolerance);
}

void golden_count_byte(struct golden_bytes *b, int got, int wanted)
{
    int d = abs(got - wanted);

    b->n++;
    b->n_off += d > 1;
    b->worst = d > b->worst ? d : b->worst;
}

void golden_check_bytes(const char *what, const struct golden_bytes *b)
{
    printf("    %s: %zu of %zu bytes off by more than 1, worst %d\n", what,
           b->n_off, b->n, b->worst);
    if (b->worst > 3 || 100 * b->n_off > b->n)
        fail_msg("%s: %zu of %zu bytes off by more than 1 (allowed 1 in 100), "
                 "worst %d (allowed 3)",
                 what, b->n_off, b->n, b->worst);
}

void golden_check_picture(const char *what, const struct unstir_generation *g,
                          const float *wanted, size_t n)
{
    struct golden_bytes bytes = {0};
    struct unstir_error err = {0};
    struct unstir_image image;
    size_t hw;

    must(unstir_generation_image(g, &image, &err), &err);
    hw = (size_t)image.width * image.height;
    assert_int_equal(hw * image.channels, n);
    for (size_t i = 0; i < n; i++)
        golden_count_byte(&bytes,
                          image.pixels[i % hw * image.channels + i / hw],
                          (int)lrintf(wanted[i]));
    unstir_image_fini(&image);
    golden_check_bytes(what, &bytes);
}

const float *golden_floats(const struct weights *golden, size_t row,
                           const char *what, size_t *n)
{
    const struct tensor_view *v;
    char name[32];

    snprintf(name, sizeof name, "%zu.%s", row, what);
    v = weights_find(golden, name);
    if (!v)
        fail_msg("golden has no tensor %s", name);
    *n = v->n;
    return v->data;
}

const char *golden_rung(size_t i)
{
    const char *only = getenv("UNSTIR_RUNG"); /* where many are drawn */
    struct cpu cpu = cpu_detect();

    for (size_t j = 0; j < kernels_ladder_len; j++)
        if (kernels_ladder[j].is_supported(&cpu) &&
            (!only || strcmp(kernels_ladder[j].isa, only) == 0) && i-- == 0)
            return kernels_ladder[j].isa;
    return NULL;
}
