/* t_unet2d.c - whole networks against what the reference computed.
 *
 * Each golden runs on every rung, unfused and fused, with bf16 operands (the
 * rung that has them emulated), with 1, 2 and 4 threads and picture by picture.
 *
 * Tolerances (REFERENCE 7.2, relative to the largest output): f32 2e-5, for
 * sums in another order through some forty layers (the reference's own f32 is
 * off by up to 1e-6).  bf16 operands with f32 sums: 3e-2 in the L2 norm; an
 * operand is off by 2^-9 at most, 1.1e-3 in the mean square, and the errors of
 * some forty layers of two operands add up in squares to 1e-2.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "golden.h"
#include "model/network.h"
#include "tables.h"

#define F32_TOLERANCE  2e-5
#define BF16_TOLERANCE 3e-2
/* Two lowerings differ by the rounding of what they fold, not by sums. */
#define FUSED_TOLERANCE 1e-5

/* With weights, made by another version of the reference. */
static const char *const module_goldens[] = {
    "modules/unet2d_ddpm",
    "modules/unet2d_ldm",
    "modules/unet2d_consistency",
    "modules/unet2d_gray_class",
};

/* By tools/goldens/make_unet2d.py: weights and inputs are drawn. */
static const char *const drawn_goldens[] = {
    "unet2d/plain",
    "unet2d/attention",
    "unet2d/one_head",
    "unet2d/head_dim_uneven",
    "unet2d/class_table",
    "unet2d/class_timestep",
    "unet2d/class_identity",
    "unet2d/scale_shift",
    "unet2d/resnet_samplers",
    "unet2d/ncsnpp",
    "unet2d/skip_positional",
    "unet2d/skip_mixed",
    "unet2d/rectangular",
    "unet2d/odd",
    "unet2d/one_pixel",
    "unet2d/mish",
    "unet2d/gelu",
    "unet2d/relu_no_mid_attention",
    "unet2d/mid_null",
    "unet2d/learned_time",
    "unet2d/channels",
    "unet2d/ddpm",
    "unet2d/old_names",
    "unet2d/wide",
};

/* A golden made ready: inputs NHWC, weights or none. */
struct record {
    const char *name;
    struct weights *golden, *weights;
    unsigned char *weight_bytes;
    struct json *config;
    uint64_t seed;
    struct golden_tensor sample, timestep, label, want;
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

static uint32_t number(const struct weights *golden, const char *key)
{
    return (uint32_t)strtoul(weights_metadata(golden, key), NULL, 10);
}

/* A list of numbers in the metadata as a tensor of n rows. */
static struct golden_tensor list(const struct weights *golden, const char *key)
{
    struct json *json = parse(weights_metadata(golden, key));
    struct golden_tensor t = {1, 1, 1, 1, json_len(json), NULL};

    if (t.n_floats) {
        t.n = (uint32_t)t.n_floats;
        t.data = zeroed(t.n_floats);
        for (size_t i = 0; i < t.n_floats; i++)
            t.data[i] = (float)json_real(json_at(json, i));
    }
    json_free(json);
    return t;
}

static struct golden_tensor draw(struct rng *rng, uint32_t n, uint32_t c,
                                 uint32_t h, uint32_t w)
{
    struct golden_tensor t = {n, c, h, w, (size_t)n * c * h * w, NULL};
    float *nchw = zeroed(t.n_floats);

    t.data = zeroed(t.n_floats);
    rng_normal_f32(rng, nchw, t.n_floats);
    golden_to_nhwc(t.data, nchw, n, c, h, w);
    alloc_free(nchw);
    return t;
}

static void draw_inputs(struct record *r)
{
    const struct json *type = json_get(r->config, "class_embed_type");
    const struct json *cin = json_get(r->config, "in_channels");
    struct rng rng;

    rng_seed(&rng, number(r->golden, "input_seed"));
    r->sample =
        draw(&rng, number(r->golden, "n"), cin ? (uint32_t)json_int(cin) : 3,
             number(r->golden, "h"), number(r->golden, "w"));
    r->timestep = list(r->golden, "timesteps");
    r->label = list(r->golden, "labels");
    if (type && strcmp(json_string(type), "identity") == 0)
        r->label = draw(&rng, r->sample.n, 64, 1, 1);
    r->seed = number(r->golden, "seed");
    r->want = golden_get(r->golden, "out");
}

static struct record record_open(const char *name)
{
    struct record r = {.name = name};
    char path[128];

    snprintf(path, sizeof path, "tests/data/%s.safetensors", name);
    r.golden = golden_open(path);
    r.config = parse(weights_metadata(r.golden, "config"));
    if (!golden_has(r.golden, "in.x")) {
        draw_inputs(&r);
        return r;
    }
    r.weights = golden_weights(r.golden, &r.weight_bytes);
    r.sample = golden_get(r.golden, "in.x");
    r.timestep = golden_get(r.golden, "in.t");
    if (golden_has(r.golden, "in.y"))
        r.label = golden_get(r.golden, "in.y");
    r.want = golden_get(r.golden, "out.out");
    return r;
}

static void record_close(struct record *r)
{
    golden_tensor_fini(&r->sample);
    golden_tensor_fini(&r->timestep);
    golden_tensor_fini(&r->label);
    golden_tensor_fini(&r->want);
    json_free(r->config);
    weights_close(r->weights);
    alloc_free(r->weight_bytes);
    weights_close(r->golden);
}

/* -- running ----------------------------------------------------------- */

static struct network *open_network(const struct record *r, const char *isa,
                                    enum unstir_precision precision,
                                    enum lower_mode mode)
{
    struct network_options options = {
        .isa = isa, .precision = precision, .mode = mode};
    struct unstir_error err = {0};
    struct network *net;

    options.ladder = tables_ladder(&options.n_rungs);
    if (network_open(&net, r->config, r->weights, r->seed, &options, &err))
        fail_msg("%s: %s", r->name, err.detail);
    return net;
}

/* Pictures first .. first + n - 1 of the record into their place in out. */
static void eval(const struct record *r, const struct network *net,
                 unsigned n_threads, uint32_t first, uint32_t n, float *out)
{
    size_t m_in = r->sample.n_floats / r->sample.n;
    size_t m_out = r->want.n_floats / r->want.n;
    struct network_io io = {
        .n = n,
        .h = r->sample.h,
        .w = r->sample.w,
        .sample = r->sample.data + first * m_in,
        .timestep = r->timestep.data + first,
        .label = r->label.data ? r->label.data + first * r->label.c : NULL,
        .out = out + first * m_out,
    };
    struct unstir_error err = {0};
    struct executor *x;

    if (executor_new(&x, n_threads, 0, 0, &err) ||
        network_eval(net, x, &io, NULL, &err))
        fail_msg("%s: %s", r->name, err.detail);
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
    if (!(error > 1e-4))
        fail_msg("%s: error %.2e is too small for bf16", what, error);
    alloc_free(out);
    network_free(net);
}

static void test_bf16(void **state)
{
    struct record r = record_open(*state);

    for (size_t i = 0; i < ARRAY_LEN(bf16_rungs); i++)
        if (has_rung(bf16_rungs[i]))
            check_bf16(&r, bf16_rungs[i]);
    record_close(&r);
}

static void check_same_bytes(const struct record *r, const char *isa,
                             enum unstir_precision precision)
{
    struct network *net = open_network(r, isa, precision, LOWER_FUSED);
    size_t bytes = r->want.n_floats * sizeof(float);
    float *one = zeroed(r->want.n_floats), *more = zeroed(r->want.n_floats);

    eval(r, net, 1, 0, r->sample.n, one);
    for (unsigned n_threads = 2; n_threads <= 4; n_threads += 2) {
        memset(more, 0xff, bytes);
        eval(r, net, n_threads, 0, r->sample.n, more);
        if (memcmp(one, more, bytes) != 0)
            fail_msg("%s %s: %u threads give other bytes than 1", r->name, isa,
                     n_threads);
    }
    memset(more, 0xff, bytes);
    for (uint32_t i = 0; i < r->sample.n; i++)
        eval(r, net, 1, i, 1, more);
    if (memcmp(one, more, bytes) != 0)
        fail_msg("%s %s: pictures alone differ from the batch", r->name, isa);
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

/* -- the list of tests ------------------------------------------------- */

#define N_GOLDENS (ARRAY_LEN(module_goldens) + ARRAY_LEN(drawn_goldens))

static const char *golden_name(size_t i)
{
    return i < ARRAY_LEN(module_goldens)
               ? module_goldens[i]
               : drawn_goldens[i - ARRAY_LEN(module_goldens)];
}

int main(void)
{
    static const struct {
        const char *suffix;
        CMUnitTestFunction run;
    } kinds[] = {{"", test_golden},
                 {" bf16", test_bf16},
                 {" same bytes", test_same_bytes}};
    static char names[3 * N_GOLDENS][80];
    struct CMUnitTest tests[3 * N_GOLDENS];
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        for (size_t i = 0; i < N_GOLDENS; i++) {
            snprintf(names[n], sizeof names[n], "%s%s", golden_name(i),
                     kinds[k].suffix);
            tests[n] = (struct CMUnitTest){
                .name = names[n],
                .test_func = kinds[k].run,
                .initial_state = (void *)golden_name(i),
            };
            n++;
        }
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
