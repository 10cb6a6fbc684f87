/* network_golden.c - whole networks against what the reference computed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "network_golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "format/json.h"
#include "format/weights.h"
#include "golden.h"
#include "model/model.h"
#include "model/network.h"
#include "model/network_parts.h"
#include "model/tiled.h"
#include "ops/plan.h"
#include "tables.h"

/* REFERENCE 7.2, relative to the largest output.  f32: sums in another order
 * through some forty layers (the reference's own f32 is off by up to 1e-6).
 * bf16 operands with f32 sums, in the L2 norm: an operand is off by 2^-9 at
 * most, 1.1e-3 in the mean square, and the errors of some forty layers of two
 * operands add up in squares to 1e-2. */
#define F32_TOLERANCE  2e-5
#define BF16_TOLERANCE 3e-2
/* Numbers of 8 bits in the L2 norm: a row or a column of some hundred normal
 * numbers has its largest at three deviations, a step of 3 / 127 of one and an
 * error of that over sqrt(12), 0.7e-2; of both operands 1e-2.  Those of some
 * forty layers add up in squares to 6.3e-2, with bf16 in the rest 7e-2. */
#define INT8_TOLERANCE 7e-2
/* f32 errs by less; a network that paints one pixel hardly by more, since its
 * norms leave little but biases. */
#define LEAST_ERROR 1e-5
/* Two lowerings differ by the rounding of what they fold, not by sums. */
#define FUSED_TOLERANCE 1e-5

#define SUFFIX ".safetensors"

/* A golden made ready: inputs NHWC, weights or none. */
struct record {
    const char *name, *part;
    struct weights *golden, *weights;
    unsigned char *weight_bytes;
    struct json *config;
    uint64_t seed;
    struct golden_tensor sample, timestep, label, context, text_embeds;
    struct golden_tensor time_ids, timestep_cond, want;
};

static void *zeroed(size_t n)
{
    void *p;

    assert_int_equal(alloc_aligned(&p, n, sizeof(float), NULL), UNSTIR_OK);
    return p;
}

static struct json *parse(const char *text)
{
    struct unstir_error err = {0};
    struct json *json;

    if (json_parse(&json, text, strlen(text), &err))
        fail_msg("%s", err.detail);
    return json;
}

/* The configuration with its class's name. */
static struct json *parse_config(const char *class_name, const char *text)
{
    size_t n = strlen(class_name) + strlen(text) + 32;
    char *full = zeroed(n / sizeof(float) + 1);
    struct json *json;

    snprintf(full, n, "{\"_class_name\": \"%s\", %s", class_name,
             strchr(text, '{') + 1);
    json = parse(full);
    alloc_free(full);
    return json;
}

/* -- records with tensors ---------------------------------------------- */

static struct golden_tensor maybe(const struct weights *golden,
                                  const char *name)
{
    return golden_has(golden, name) ? golden_get(golden, name)
                                    : (struct golden_tensor){.data = NULL};
}

static void read_inputs(struct record *r, const struct network_golden *file)
{
    r->weights = golden_weights(r->golden, &r->weight_bytes);
    r->sample = golden_get(r->golden, file->in);
    r->timestep = maybe(r->golden, "in.t");
    r->label = maybe(r->golden, "in.y");
    if (golden_has(r->golden, "in.ctx"))
        r->context = golden_tokens(r->golden, "in.ctx");
    r->text_embeds = maybe(r->golden, "in.text_embeds");
    r->time_ids = maybe(r->golden, "in.time_ids");
    r->timestep_cond = maybe(r->golden, "in.tcond");
    r->want = golden_get(r->golden, file->out);
}

/* -- records that are drawn -------------------------------------------- */

/* 0 if it is not said. */
static uint32_t number(const struct record *r, const char *key)
{
    const char *text = weights_metadata(r->golden, key);

    return text ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

/* A list of numbers in the metadata, c a picture; none if it is empty. */
static struct golden_tensor list(const struct record *r, const char *key)
{
    const char *text = weights_metadata(r->golden, key);
    struct json *json = parse(text ? text : "[]");
    struct golden_tensor t = {.n = number(r, "n"), .h = 1, .w = 1};

    t.n_floats = json_len(json);
    t.c = (uint32_t)(t.n_floats / t.n);
    if (t.n_floats)
        t.data = zeroed(t.n_floats);
    for (size_t i = 0; i < t.n_floats; i++)
        t.data[i] = (float)json_real(json_at(json, i));
    json_free(json);
    return t;
}

/* Drawn as the reference lies ([n][c][h][w]); tokens as they are. */
static struct golden_tensor draw(struct rng *rng, uint32_t n, uint32_t c,
                                 uint32_t h, uint32_t w, bool is_tokens)
{
    struct golden_tensor t = {n, c, h, w, (size_t)n * c * h * w, NULL};
    float *raw;

    if (t.n_floats == 0)
        return t;
    raw = zeroed(t.n_floats);
    t.data = zeroed(t.n_floats);
    rng_normal_f32(rng, raw, t.n_floats);
    if (is_tokens)
        memcpy(t.data, raw, t.n_floats * sizeof *raw);
    else
        golden_to_nhwc(t.data, raw, n, c, h, w);
    alloc_free(raw);
    return t;
}

static void draw_inputs(struct record *r, const struct network_info *info)
{
    uint32_t n = number(r, "n");
    struct rng rng;

    rng_seed(&rng, number(r, "input_seed"));
    r->sample =
        draw(&rng, n, info->in_channels, number(r, "h"), number(r, "w"), false);
    r->timestep = list(r, "timesteps");
    r->label = list(r, "labels");
    if (info->has_class_input && !r->label.data)
        r->label = draw(&rng, n, info->label_width, 1, 1, true);
    r->context =
        draw(&rng, n, info->context_width, 1, number(r, "context_len"), true);
    r->text_embeds = draw(&rng, n, info->pooled_width, 1, 1, true);
    r->time_ids = list(r, "time_ids");
    r->timestep_cond = draw(&rng, n, info->guidance_width, 1, 1, true);
    r->want = golden_get(r->golden, "out");
}

/* -- opening ----------------------------------------------------------- */

static struct network *open_network(const struct record *r, const char *isa,
                                    enum unstir_precision precision,
                                    enum lower_mode mode)
{
    struct network_options options = {
        .isa = isa, .precision = precision, .mode = mode, .part = r->part};
    struct unstir_error err = {0};
    struct network *net;

    options.ladder = tables_ladder(&options.n_rungs);
    if (network_open(&net, r->config, r->weights, r->seed, &options, &err))
        fail_msg("%s: %s", r->name, err.detail);
    return net;
}

static struct record record_open(const struct network_golden *file)
{
    struct record r = {.name = file->path, .part = file->part};
    struct network *net;
    const char *class_name = file->class_name;
    char path[128];

    snprintf(path, sizeof path, "tests/data/%s.safetensors", file->path);
    r.golden = golden_open(strstr(file->path, SUFFIX) ? file->path : path);
    if (!class_name)
        class_name = weights_metadata(r.golden, "class");
    r.config = parse_config(class_name, weights_metadata(r.golden, "config"));
    if (file->in) {
        read_inputs(&r, file);
        return r;
    }
    r.part = weights_metadata(r.golden, "part");
    r.seed = number(&r, "seed");
    net = open_network(&r, "scalar", UNSTIR_PRECISION_F32, LOWER_FUSED);
    draw_inputs(&r, network_info(net));
    network_free(net);
    return r;
}

static void record_close(struct record *r)
{
    golden_tensor_fini(&r->sample);
    golden_tensor_fini(&r->timestep);
    golden_tensor_fini(&r->label);
    golden_tensor_fini(&r->context);
    golden_tensor_fini(&r->text_embeds);
    golden_tensor_fini(&r->time_ids);
    golden_tensor_fini(&r->timestep_cond);
    golden_tensor_fini(&r->want);
    json_free(r->config);
    weights_close(r->weights);
    alloc_free(r->weight_bytes);
    weights_close(r->golden);
}

/* -- running ----------------------------------------------------------- */

static const float *from(const struct golden_tensor *t, uint32_t picture)
{
    return t->data ? t->data + picture * (t->n_floats / t->n) : NULL;
}

/* Pictures first .. first + n - 1 of the record into their place in out. */
static void eval_on(struct executor *x, const struct record *r,
                    const struct network *net, uint32_t first, uint32_t n,
                    float *out)
{
    struct network_io io = {
        .n = n,
        .h = r->sample.h,
        .w = r->sample.w,
        .sample = from(&r->sample, first),
        .timestep = from(&r->timestep, first),
        .label = from(&r->label, first),
        .context = from(&r->context, first),
        .context_len = r->context.data ? r->context.w : 0,
        .text_embeds = from(&r->text_embeds, first),
        .time_ids = from(&r->time_ids, first),
        .timestep_cond = from(&r->timestep_cond, first),
        .out = out + first * (r->want.n_floats / r->want.n),
    };
    struct unstir_error err = {0};

    if (network_eval(net, x, &io, NULL, &err))
        fail_msg("%s: %s", r->name, err.detail);
}

static void eval(const struct record *r, const struct network *net,
                 unsigned n_threads, uint32_t first, uint32_t n, float *out)
{
    struct unstir_error err = {0};
    struct executor *x;

    if (executor_new(&x, n_threads, 0, 0, &err))
        fail_msg("%s: %s", r->name, err.detail);
    eval_on(x, r, net, first, n, out);
    executor_free(x);
}

/* Evaluate in f32 by one lowering and hold it to the golden. */
static float *check_f32(const struct record *r, const char *isa,
                        enum lower_mode mode)
{
    struct network *net = open_network(r, isa, UNSTIR_PRECISION_F32, mode);
    float *out = zeroed(r->want.n_floats);
    char what[96];

    eval(r, net, 1, 0, r->sample.n, out);
    snprintf(what, sizeof what, "%s %s %s", r->name, isa,
             mode == LOWER_FUSED ? "fused" : "plain");
    golden_check(what, golden_max_error(out, r->want.data, r->want.n_floats),
                 F32_TOLERANCE);
    network_free(net);
    return out;
}

/* An autoencoder in bands of a few rows, held to the same golden. */
static void check_bands(const struct record *r, const char *isa)
{
    struct network *net =
        open_network(r, isa, UNSTIR_PRECISION_F32, LOWER_FUSED);
    float *out = zeroed(r->want.n_floats);
    struct network_io io = {.n = r->sample.n,
                            .h = r->sample.h,
                            .w = r->sample.w,
                            .sample = r->sample.data,
                            .out = out};
    struct unstir_error err = {0};
    struct executor *x;
    char what[96];

    if (executor_new(&x, 1, 0, 0, &err))
        fail_msg("%s: %s", r->name, err.detail);
    for (uint32_t rows = 1; rows <= 3; rows += 2) {
        struct tiling tiling = {.rows = rows};

        memset(out, 0xff, r->want.n_floats * sizeof *out);
        if (tiled_eval(net, x, &io, &tiling, NULL, &err))
            fail_msg("%s: %s", r->name, err.detail);
        snprintf(what, sizeof what, "%s %s in bands of %u", r->name, isa, rows);
        golden_check(what,
                     golden_max_error(out, r->want.data, r->want.n_floats),
                     F32_TOLERANCE);
    }
    executor_free(x);
    network_free(net);
    alloc_free(out);
}

static void test_golden(void **state)
{
    struct record r = record_open(*state);

    for (size_t i = 0; golden_rung(i); i++) {
        float *plain = check_f32(&r, golden_rung(i), LOWER_REFERENCE);
        float *fused = check_f32(&r, golden_rung(i), LOWER_FUSED);

        golden_check("fused against plain",
                     golden_max_error(fused, plain, r.want.n_floats),
                     FUSED_TOLERANCE);
        alloc_free(plain);
        alloc_free(fused);
        if (r.part)
            check_bands(&r, golden_rung(i));
    }
    record_close(&r);
}

/* Operands rounded by one rung, and those of the rung that has bf16. */
static const char *const bf16_rungs[] = {"scalar", "portable", "avx2",
                                         "emulated"};

static bool has_rung(const char *isa)
{
    struct kernel_table table;

    return tables_select(&table, isa);
}

static void check_bf16(const struct record *r, const char *isa)
{
    struct network *net =
        open_network(r, isa, UNSTIR_PRECISION_BF16, LOWER_FUSED);
    float *out = zeroed(r->want.n_floats);
    double error;
    char what[96];

    assert_string_equal(network_info(net)->precision, "bf16");
    eval(r, net, 1, 0, r->sample.n, out);
    error = golden_l2_error(out, r->want.data, r->want.n_floats);
    snprintf(what, sizeof what, "%s %s bf16", r->name, isa);
    golden_check(what, error, BF16_TOLERANCE);
    /* It must also be bf16 and not f32 by mistake. */
    if (!(error > LEAST_ERROR))
        fail_msg("%s: error %.2e is too small for bf16", what, error);
    alloc_free(out);
    network_free(net);
}

/* The layers that multiply whole numbers of 8 bits, by the plan. */
static unsigned n_int8_layers(const struct record *r, const struct network *net)
{
    struct model_size size = {r->sample.n, r->sample.h, r->sample.w,
                              r->context.data ? r->context.w : 0};
    struct unstir_error err = {0};
    struct plan *plan;
    unsigned n = 0;

    if (network_plan(&plan, net, LOWER_WHOLE, &size, 1, &err))
        fail_msg("%s: %s", r->name, err.detail);
    for (size_t i = 0; i < plan_n_steps(plan); i++) {
        const struct plan_product *p = plan_step_product(plan, i);
        n += p && strcmp(p->operands, "int8") == 0;
    }
    plan_free(plan);
    return n;
}

static void check_int8(const struct record *r, const char *isa)
{
    struct network *net =
        open_network(r, isa, UNSTIR_PRECISION_INT8, LOWER_FUSED);
    float *out = zeroed(r->want.n_floats);
    unsigned n_layers = n_int8_layers(r, net);
    double error;
    char what[96];

    assert_string_equal(network_info(net)->precision, "int8");
    eval(r, net, 1, 0, r->sample.n, out);
    error = golden_l2_error(out, r->want.data, r->want.n_floats);
    snprintf(what, sizeof what, "%s %s int8, %u layers", r->name, isa,
             n_layers);
    golden_check(what, error, INT8_TOLERANCE);
    /* It must also be int8 and not f32 by mistake. */
    if (n_layers > 0 && !(error > LEAST_ERROR))
        fail_msg("%s: error %.2e is too small for int8", what, error);
    alloc_free(out);
    network_free(net);
}

static const char *const int8_rungs[] = {"scalar", "avx2", "emulated vnni",
                                         "emulated"};

static void test_int8(void **state)
{
    struct record r = record_open(*state);

    for (size_t i = 0; i < ARRAY_LEN(int8_rungs); i++)
        if (has_rung(int8_rungs[i]))
            check_int8(&r, int8_rungs[i]);
    record_close(&r);
}

static void test_bf16(void **state)
{
    struct record r = record_open(*state);

    for (size_t i = 0; i < ARRAY_LEN(bf16_rungs); i++)
        if (has_rung(bf16_rungs[i]))
            check_bf16(&r, bf16_rungs[i]);
    record_close(&r);
}

/* Threads, batches, and a second evaluation that finds the rows of its texts
 * in the executor must not change a bit. */
static void check_same_bytes(const struct record *r, const char *isa,
                             enum unstir_precision precision)
{
    struct network *net = open_network(r, isa, precision, LOWER_FUSED);
    size_t bytes = r->want.n_floats * sizeof(float);
    float *one = zeroed(r->want.n_floats), *more = zeroed(r->want.n_floats);
    struct executor *x;

    eval(r, net, 1, 0, r->sample.n, one);
    for (unsigned n_threads = 2; n_threads <= 4; n_threads += 2) {
        memset(more, 0xff, bytes);
        eval(r, net, n_threads, 0, r->sample.n, more);
        if (memcmp(one, more, bytes) != 0)
            fail_msg("%s %s: %u threads give other bytes than 1", r->name, isa,
                     n_threads);
    }
    assert_int_equal(executor_new(&x, 1, 0, 0, NULL), UNSTIR_OK);
    for (uint32_t round = 0; round < 2; round++) {
        memset(more, 0xff, bytes);
        for (uint32_t i = 0; i < r->sample.n; i++)
            eval_on(x, r, net, i, 1, more);
        if (memcmp(one, more, bytes) != 0)
            fail_msg("%s %s: pictures alone differ from the batch", r->name,
                     isa);
        memset(more, 0xff, bytes);
        eval_on(x, r, net, 0, r->sample.n, more);
        if (memcmp(one, more, bytes) != 0)
            fail_msg("%s %s: the executor's memory changes bytes", r->name,
                     isa);
    }
    executor_free(x);
    alloc_free(one);
    alloc_free(more);
    network_free(net);
}

static void test_same_bytes(void **state)
{
    struct record r = record_open(*state);

    for (size_t i = 0; golden_rung(i); i++)
        check_same_bytes(&r, golden_rung(i), UNSTIR_PRECISION_F32);
    if (has_rung("emulated"))
        check_same_bytes(&r, "emulated", UNSTIR_PRECISION_AUTO);
    record_close(&r);
}

static const struct kind {
    const char *suffix;
    CMUnitTestFunction run;
    bool is_exact; /* false: its bound is one of usual networks              */
} kinds[] = {{"", test_golden, true},
             {" bf16", test_bf16, false},
             {" int8", test_int8, false},
             {" same bytes", test_same_bytes, true}};

static int run_kinds(const struct network_golden *files, size_t n_files,
                     bool is_drawn)
{
    static char names[ARRAY_LEN(kinds) * NETWORK_GOLDENS_MAX][160];
    static struct CMUnitTest tests[ARRAY_LEN(kinds) * NETWORK_GOLDENS_MAX];
    /* Where many are drawn, one rung and its numbers are all that is asked. */
    size_t n_kinds = getenv("UNSTIR_RUNG") ? 1 : ARRAY_LEN(kinds), n = 0;

    assert_true(n_files <= NETWORK_GOLDENS_MAX);
    for (size_t k = 0; k < n_kinds; k++) {
        for (size_t i = 0; i < n_files; i++) {
            const struct network_golden *file = &files[i];

            if (is_drawn && !kinds[k].is_exact)
                continue;
            snprintf(names[n], sizeof names[n], "%s%s%s%s", file->path,
                     file->part ? " " : "", file->part ? file->part : "",
                     kinds[k].suffix);
            tests[n] = (struct CMUnitTest){
                .name = names[n],
                .test_func = kinds[k].run,
                .initial_state = (void *)file,
            };
            n++;
        }
    }
    return _cmocka_run_group_tests("networks", tests, n, NULL, NULL);
}

int network_goldens_run(const struct network_golden *files, size_t n_files)
{
    return run_kinds(files, n_files, false);
}

int network_goldens_run_files(char **paths, size_t n_paths)
{
    static struct network_golden files[NETWORK_GOLDENS_MAX];

    assert_true(n_paths <= NETWORK_GOLDENS_MAX);
    for (size_t i = 0; i < n_paths; i++)
        files[i].path = paths[i];
    return run_kinds(files, n_paths, true);
}
