/* t_state.c - saved generations: the same bytes after a restore at any step,
 * and refusal of everything that no generation could have written.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "json_file.h"
#include "must.h"
#include "pipeline/checkpoint.h"
#include "unstir.h"

#define TINY      "tests/data/models/tiny"
#define MAX_TEXTS 8

static uint8_t grey_pixels[4] = {10, 80, 150, 220};
static const struct unstir_image grey = {2, 2, 1, grey_pixels};

static struct unstir_model *model;
static struct unstir_executor *exec;

static int setup(void **state)
{
    struct unstir_executor_options o = {.n_threads = 1};
    struct unstir_error err;

    must(unstir_model_open(&model, TINY, NULL, &err), &err);
    must(unstir_executor_new(&exec, &o, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    unstir_executor_free(exec);
    unstir_model_close(model);
    return 0;
}

static struct unstir_generation *begin(const struct unstir_model *m,
                                       const char *sampler, double eta,
                                       uint32_t steps, uint32_t size)
{
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    struct unstir_generation *gen;
    struct unstir_error err;

    r.class_id = 5;
    r.seed = UINT64_C(0xfedcba9876543210);
    r.sampler = sampler;
    r.eta = eta;
    r.steps = steps;
    r.width = r.height = size;
    if (sampler && strcmp(sampler, "ddim_inverse") == 0)
        r.init_image = &grey;
    must(unstir_generation_begin(&gen, m, &r, &err), &err);
    return gen;
}

static void step(struct unstir_generation *gen, uint32_t n)
{
    struct unstir_error err;

    while (n-- && !unstir_generation_is_done(gen))
        must(unstir_generation_step(gen, exec, &err), &err);
}

static struct unstir_generation *through_file(struct unstir_generation *gen,
                                              const struct unstir_model *m)
{
    struct unstir_generation *again;
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    must(unstir_generation_save(gen, &bytes, &n, &err), &err);
    must(unstir_generation_restore(&again, m, bytes, n, &err), &err);
    unstir_free(bytes);
    return again;
}

static void assert_same_end(struct unstir_generation *a,
                            struct unstir_generation *b)
{
    unsigned char *png_a, *png_b;
    struct unstir_error err;
    size_t n_a, n_b;

    step(a, UINT32_MAX);
    step(b, UINT32_MAX);
    must(unstir_generation_png(a, NULL, &png_a, &n_a, &err), &err);
    must(unstir_generation_png(b, NULL, &png_b, &n_b, &err), &err);
    assert_int_equal(n_a, n_b);
    assert_memory_equal(png_a, png_b, n_a);
    unstir_free(png_a);
    unstir_free(png_b);
}

/* Save after k steps for every k, the end included. */
static void check_every_step(const struct unstir_model *m, const char *sampler,
                             double eta, uint32_t size)
{
    for (uint32_t k = 0; k <= 4; k++) {
        struct unstir_generation *a = begin(m, sampler, eta, 4, size);
        step(a, k);
        struct unstir_generation *b = through_file(a, m);
        assert_int_equal(unstir_generation_progress(b).step, k);
        assert_int_equal(unstir_generation_request(b)->seed,
                         unstir_generation_request(a)->seed);
        assert_same_end(a, b);
        unstir_generation_free(a);
        unstir_generation_free(b);
    }
}

static void test_every_step(void **state)
{
    check_every_step(model, "ddim", 0, 16);
    check_every_step(model, "ddim", 0.5, 16);
    check_every_step(model, "ddpm", 0, 16);
}

/* tiny's network under a scheduler of another class. */
static struct unstir_model *with_scheduler(struct diffusers_folder *folder,
                                           const struct json *scheduler)
{
    struct checkpoint_parts parts = {
        .name = "tiny",
        .digest = folder->digest,
        .unet_config = folder->unet_config,
        .scheduler_config = scheduler,
        .weights = folder->unet_weights,
    };
    struct unstir_model *m;
    struct unstir_error err;

    must(checkpoint_new(&m, &parts, NULL, &err), &err);
    return m;
}

/* Histories, accumulators and generators of all methods: each in a model of
 * its kind, saved where histories grow and where they are full. */
static void test_every_sampler(void **state)
{
    struct diffusers_folder folder;
    struct unstir_error err;
    char text[128];

    must(diffusers_folder_open(&folder, TINY, false, &err), &err);
    for (size_t i = 0; i < SAMPLER_COUNT; i++) {
        const struct sampler *s = samplers[i];
        (void)snprintf(text, sizeof text, "{\"_class_name\":\"%s\"}",
                       schedule_class_name(s->method));
        struct json *scheduler = json_text(text);
        struct unstir_model *m = with_scheduler(&folder, scheduler);
        for (uint32_t k = 1; k <= 4; k += 2) {
            struct unstir_generation *a =
                begin(m, s->info->name, UNSTIR_UNSET_F, 5, 16);
            step(a, k);
            struct unstir_generation *b = through_file(a, m);
            assert_int_equal(unstir_generation_progress(b).step, k);
            assert_same_end(a, b);
            unstir_generation_free(a);
            unstir_generation_free(b);
        }
        checkpoint_free(m);
        json_free(scheduler);
    }
    diffusers_folder_close(&folder);
}

/* Samples below 16 numbers leave a second normal number in the generator: an
 * odd count of them is saved too. */
static void test_cached_normal(void **state)
{
    struct json *unstir = json_text(
        "{\"defaults\":{\"width\":2,\"height\":2},"
        "\"limits\":{\"min_size\":2,\"max_size\":16},\"null_class\":10}");
    struct diffusers_folder folder;
    struct unstir_model *small;
    struct unstir_error err;

    must(diffusers_folder_open(&folder, TINY, false, &err), &err);
    struct checkpoint_parts parts = {
        .name = "small",
        .digest = folder.digest,
        .unet_config = folder.unet_config,
        .scheduler_config = folder.scheduler_config,
        .unstir = unstir,
        .weights = folder.unet_weights,
    };
    must(checkpoint_new(&small, &parts, NULL, &err), &err);
    check_every_step(small, "ddpm", 0, 2);
    checkpoint_free(small);
    diffusers_folder_close(&folder);
    json_free(unstir);
}

static void test_finished_early(void **state)
{
    struct unstir_generation *a = begin(model, "ddim", 0, 4, 16);
    struct unstir_error err;

    step(a, 2);
    must(unstir_generation_finish_early(a, &err), &err);
    struct unstir_generation *b = through_file(a, model);
    assert_true(unstir_generation_is_done(b));
    assert_same_end(a, b);
    unstir_generation_free(a);
    unstir_generation_free(b);
}

static void test_save_is_stable(void **state)
{
    struct unstir_generation *a = begin(model, "ddpm", 0, 4, 16);
    unsigned char *first, *second;
    struct unstir_error err;
    size_t n, n_second;

    step(a, 2);
    struct unstir_generation *b = through_file(a, model);
    must(unstir_generation_save(a, &first, &n, &err), &err);
    must(unstir_generation_save(b, &second, &n_second, &err), &err);
    assert_int_equal(n, n_second);
    assert_memory_equal(first, second, n);
    unstir_free(first);
    unstir_free(second);
    unstir_generation_free(a);
    unstir_generation_free(b);
}

static void test_other_model(void **state)
{
    struct unstir_generation *a = begin(model, "ddim", 0, 4, 16), *b = a;
    struct unstir_model *other;
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    must(unstir_model_open(&other, "tests/data/models/tiny-rgb", NULL, &err),
         &err);
    must(unstir_generation_save(a, &bytes, &n, &err), &err);
    assert_int_equal(unstir_generation_restore(&b, other, bytes, n, &err),
                     UNSTIR_ERR_MISMATCH);
    assert_null(b);
    assert_non_null(strstr(err.detail, "model_digest"));
    unstir_model_close(other);
    unstir_generation_free(a);
    unstir_free(bytes);
}

static void test_other_numerics(void **state)
{
    struct unstir_model_options scalar = {.isa = "scalar"};
    struct unstir_model_options portable = {.isa = "portable"};
    struct unstir_model *a, *b;
    struct unstir_generation *gen, *again;
    struct unstir_error err;
    unsigned char *bytes;
    size_t n;

    must(unstir_model_open(&a, TINY, &scalar, &err), &err);
    must(unstir_model_open(&b, TINY, &portable, &err), &err);
    gen = begin(a, "ddim", 0, 4, 16);
    must(unstir_generation_save(gen, &bytes, &n, &err), &err);
    assert_int_equal(unstir_generation_restore(&again, b, bytes, n, &err),
                     UNSTIR_ERR_MISMATCH);
    assert_non_null(strstr(err.detail, "fingerprint"));
    unstir_free(bytes);
    unstir_generation_free(gen);
    unstir_model_close(a);
    unstir_model_close(b);
}

/* -- hostile states --------------------------------------------------------- */

/* One change to a good state; fields that are NULL change nothing. */
struct edit {
    const char *meta, *value; /* value NULL: leave the key out      */
    const char *from, *to;    /* in the value of `meta`             */
    const char *drop;         /* a tensor                           */
    const char *reshape;      /* a tensor as one row                */
    const char *retype;       /* a tensor as i32                    */
    const char *poison;       /* a tensor gets a NaN                */
    const char *extra;        /* one more tensor                    */
    enum unstir_status wanted;
    const char *said;
};

static const struct edit edits[] = {
    {.meta = "format", .wanted = UNSTIR_ERR_FORMAT, .said = "format"},
    {.meta = "format",
     .value = "unstir-state-2",
     .wanted = UNSTIR_ERR_UNSUPPORTED,
     .said = "unstir-state-1"},
    {.meta = "model_digest", .wanted = UNSTIR_ERR_FORMAT, .said = "digest"},
    {.meta = "model_digest",
     .value = "00",
     .wanted = UNSTIR_ERR_MISMATCH,
     .said = "model_digest"},
    {.meta = "fingerprint", .wanted = UNSTIR_ERR_FORMAT, .said = "fingerprint"},
    {.meta = "fingerprint",
     .value = "",
     .wanted = UNSTIR_ERR_MISMATCH,
     .said = "fingerprint"},
    {.meta = "request", .wanted = UNSTIR_ERR_FORMAT, .said = "request"},
    {.meta = "request",
     .value = "{",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "request"},
    {.meta = "request",
     .value = "[]",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "request"},
    {.meta = "request",
     .from = "\"eta\":0.0",
     .to = "\"ete\":0.0",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "eta"},
    {.meta = "request",
     .from = "\"eta\":0.0",
     .to = "\"eta\":0,\"n\":1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "unknown member \"n\""},
    {.meta = "request",
     .from = "\"eta\":0.0",
     .to = "\"eta\":0.5",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "eta"},
    {.meta = "request",
     .from = "\"eta\":0.0",
     .to = "\"eta\":\"0\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "eta"},
    {.meta = "request",
     .from = "\"steps\":4",
     .to = "\"steps\":0",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "steps"},
    {.meta = "request",
     .from = "\"steps\":4",
     .to = "\"steps\":1001",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "steps"},
    {.meta = "request",
     .from = "\"steps\":4",
     .to = "\"steps\":4294967300",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "steps"},
    {.meta = "request",
     .from = "\"steps\":4",
     .to = "\"steps\":1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "step"},
    {.meta = "request",
     .from = "\"width\":16",
     .to = "\"width\":64",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "shape"},
    {.meta = "request",
     .from = "\"width\":16",
     .to = "\"width\":15",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "width"},
    {.meta = "request",
     .from = "\"height\":16",
     .to = "\"height\":1e9",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "height"},
    {.meta = "request",
     .from = "\"class\":5",
     .to = "\"class\":11",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "class"},
    {.meta = "request",
     .from = "\"class\":5",
     .to = "\"class\":-2",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "class"},
    {.meta = "request",
     .from = "\"class\":5",
     .to = "\"class\":10",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "canonical"},
    {.meta = "request",
     .from = "\"guidance_scale\":1.5",
     .to = "\"guidance_scale\":0.5",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "canonical"},
    {.meta = "request",
     .from = "\"guidance_scale\":1.5",
     .to = "\"guidance_scale\":1e999",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "request"},
    {.meta = "request",
     .from = "\"sampler\":\"ddpm\"",
     .to = "\"sampler\":\"DDPM\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "canonical"},
    {.meta = "request",
     .from = "\"sampler\":\"ddpm\"",
     .to = "\"sampler\":\"\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "canonical"},
    {.meta = "request",
     .from = "\"sampler\":\"ddpm\"",
     .to = "\"sampler\":1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "sampler"},
    {.meta = "request",
     .from = "\"seed\":\"18364758544493064720\"",
     .to = "\"seed\":\"18446744073709551616\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "seed"},
    {.meta = "request",
     .from = "\"seed\":\"18364758544493064720\"",
     .to = "\"seed\":-1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "seed"},
    {.meta = "request",
     .from = "\"seed\":\"18364758544493064720\"",
     .to = "\"seed\":\"7x\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "seed"},
    {.meta = "progress", .wanted = UNSTIR_ERR_FORMAT, .said = "progress"},
    {.meta = "progress",
     .value = "null",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "progress"},
    {.meta = "progress",
     .value = "{}",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "5 keys"},
    {.meta = "progress",
     .from = "\"step\":2",
     .to = "\"step\":5",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "step"},
    {.meta = "progress",
     .from = "\"step\":2",
     .to = "\"step\":-1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "step"},
    {.meta = "progress",
     .from = "\"step\":2",
     .to = "\"step\":null",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "lacks"},
    {.meta = "progress",
     .from = "\"n_held\":0",
     .to = "\"n_held\":1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "n_held"},
    {.meta = "progress",
     .from = "\"is_early\":false",
     .to = "\"is_early\":0",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "is_early"},
    {.meta = "progress",
     .from = "\"rng_cached\":null",
     .to = "\"rng_cached\":\"7ff0000000000000\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "rng_cached"},
    {.meta = "progress",
     .from = "\"rng_cached\":null",
     .to = "\"rng_cached\":\"3ff\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "rng_cached"},
    {.meta = "progress",
     .from = "\"rng_cached\":null",
     .to = "\"rng_cached\":\"3ff000000000000g\"",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "rng_cached"},
    {.meta = "progress",
     .from = "\"rng_cached\":null",
     .to = "\"rng_cach\":1",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "rng_cached"},
    {.meta = "progress",
     .from = "\"rng_index\":",
     .to = "\"rng_index\":9",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "rng_index"},
    {.drop = "sample", .wanted = UNSTIR_ERR_FORMAT, .said = "tensors"},
    {.drop = "estimate", .wanted = UNSTIR_ERR_FORMAT, .said = "tensors"},
    {.drop = "rng", .wanted = UNSTIR_ERR_FORMAT, .said = "tensors"},
    {.extra = "history", .wanted = UNSTIR_ERR_FORMAT, .said = "tensors"},
    {.drop = "sample",
     .extra = "simple",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "\"sample\""},
    {.drop = "rng",
     .extra = "rnd",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "\"rng\""},
    {.reshape = "sample", .wanted = UNSTIR_ERR_FORMAT, .said = "\"sample\""},
    {.reshape = "estimate",
     .wanted = UNSTIR_ERR_FORMAT,
     .said = "\"estimate\""},
    {.retype = "sample", .wanted = UNSTIR_ERR_FORMAT, .said = "\"sample\""},
    {.poison = "sample", .wanted = UNSTIR_ERR_FORMAT, .said = "finite"},
    {.poison = "estimate", .wanted = UNSTIR_ERR_FORMAT, .said = "finite"},
};

static bool is_named(const char *a, const char *b)
{
    return a && strcmp(a, b) == 0;
}

/* Replace e->from by e->to in text; the place must be there. */
static const char *replaced(const struct edit *e, const char *text,
                            char *buffer, size_t size)
{
    if (!e->from)
        return e->value;
    const char *at = strstr(text, e->from);
    if (!at)
        fail_msg("no %s in %s", e->from, text);
    (void)snprintf(buffer, size, "%.*s%s%s", (int)(at - text), text, e->to,
                   at + strlen(e->from));
    return buffer;
}

static size_t edit_meta(const struct edit *e, const struct weights *w,
                        struct safetensors_meta *meta, char *buffer,
                        size_t size)
{
    static const char *const keys[] = {"format", "model_digest", "fingerprint",
                                       "request", "progress"};
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const char *value = weights_metadata(w, keys[i]);
        assert_non_null(value);
        if (is_named(e->meta, keys[i]))
            value = replaced(e, value, buffer, size);
        if (value)
            meta[n++] = (struct safetensors_meta){keys[i], value};
    }
    return n;
}

static size_t edit_tensors(const struct edit *e, const struct weights *w,
                           struct safetensors_entry *entries,
                           float poisoned[256])
{
    static const float more[4] = {1, 2, 3, 4};
    size_t n = 0;

    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *v = weights_at(w, i);
        struct safetensors_entry *out = &entries[n];
        if (is_named(e->drop, v->name))
            continue;
        *out = (struct safetensors_entry){.name = v->name,
                                          .dtype = v->dtype,
                                          .rank = v->rank,
                                          .data = v->data};
        memcpy(out->dims, v->dims, sizeof out->dims);
        if (is_named(e->reshape, v->name)) {
            out->rank = 1;
            out->dims[0] = v->n;
        }
        if (is_named(e->retype, v->name))
            out->dtype = DTYPE_I32;
        if (is_named(e->poison, v->name)) {
            assert_int_equal(v->n, 256);
            memcpy(poisoned, v->data, v->n_bytes);
            poisoned[77] = NAN;
            out->data = poisoned;
        }
        n++;
    }
    if (e->extra)
        entries[n++] = (struct safetensors_entry){.name = e->extra,
                                                  .dtype = DTYPE_F32,
                                                  .rank = 1,
                                                  .dims = {4},
                                                  .data = more};
    return n;
}

static void check_edit(const struct edit *e, size_t row,
                       const struct weights *w)
{
    struct safetensors_entry entries[8];
    struct safetensors_meta meta[MAX_TEXTS];
    struct unstir_generation *gen;
    struct unstir_error err = {0};
    unsigned char *bytes;
    float poisoned[256];
    char buffer[1024];
    size_t n_bytes;
    size_t n = edit_tensors(e, w, entries, poisoned);
    size_t n_meta = edit_meta(e, w, meta, buffer, sizeof buffer);

    must(safetensors_build(&bytes, &n_bytes, entries, n, meta, n_meta, &err),
         &err);
    enum unstir_status st =
        unstir_generation_restore(&gen, model, bytes, n_bytes, &err);
    if (st != e->wanted || gen || !strstr(err.detail, e->said))
        fail_msg("edit %zu: %s \"%s\", wanted %s naming \"%s\"", row,
                 unstir_status_name(st), err.detail,
                 unstir_status_name(e->wanted), e->said);
    alloc_free(bytes);
}

static void test_hostile_edits(void **state)
{
    struct unstir_generation *gen = begin(model, "ddpm", 0, 4, 16);
    struct unstir_error err;
    unsigned char *bytes;
    struct weights *w;
    size_t n;

    step(gen, 2);
    must(unstir_generation_save(gen, &bytes, &n, &err), &err);
    must(safetensors_parse(&w, bytes, n, "state", &err), &err);
    for (size_t i = 0; i < ARRAY_LEN(edits); i++)
        check_edit(&edits[i], i, w);
    weights_close(w);
    unstir_free(bytes);
    unstir_generation_free(gen);
}

/* Cut anywhere: refused.  A bit turned anywhere: refused, or a state that can
 * still be stepped; never more than that. */
static void test_damage(void **state)
{
    struct unstir_generation *gen = begin(model, "ddpm", 0, 2, 8), *again;
    struct unstir_error err;
    unsigned char *bytes;
    size_t n, n_taken = 0;

    step(gen, 1);
    must(unstir_generation_save(gen, &bytes, &n, &err), &err);
    for (size_t cut = 0; cut < n; cut += cut < 1200 ? 1 : 37)
        if (!unstir_generation_restore(&again, model, bytes, cut, &err))
            fail_msg("a state of %zu bytes was taken after %zu", n, cut);
    for (size_t i = 0; i < n; i += i < 1200 ? 1 : 37) {
        unsigned char kept = bytes[i];
        bytes[i] ^= (unsigned char)(1 << i % 8);
        if (!unstir_generation_restore(&again, model, bytes, n, &err)) {
            n_taken++;
            (void)unstir_generation_step(again, exec, &err); /* may run away */
            unstir_generation_free(again);
        } else {
            assert_null(again);
        }
        bytes[i] = kept;
    }
    assert_true(n_taken > 0);
    unstir_free(bytes);
    unstir_generation_free(gen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_step),
        cmocka_unit_test(test_every_sampler),
        cmocka_unit_test(test_cached_normal),
        cmocka_unit_test(test_finished_early),
        cmocka_unit_test(test_save_is_stable),
        cmocka_unit_test(test_other_model),
        cmocka_unit_test(test_other_numerics),
        cmocka_unit_test(test_hostile_edits),
        cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests_name("t_state", tests, setup, teardown);
}
