/* t_in_place.c - networks whose weights stay where they are stored, or are packed
 * for their usual size alone: the bits of packed ones, on every rung, at other
 * sizes, also under LoRAs and beside int8.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights_build.h"
#include "golden.h"
#include "kernels/kernels.h"
#include "model/network.h"
#include "model/network_parts.h"
#include "ops/graph.h"
#include "tables.h"

#define EDGE       16 /* the usual one: sample_size below                   */
#define MAX_EDGE   24
#define N          2
#define N_OUT      (N * MAX_EDGE * MAX_EDGE)
#define N_TOKENS   5
#define TOKEN      12
#define MAX_PARAMS 256

/* Joined layers, both kinds of attention, F(4x4), F(2x2), phases, strides. */
static const char config_text[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"in_channels\":1,"
    "\"out_channels\":1,\"sample_size\":16,\"block_out_channels\":[32,64],"
    "\"layers_per_block\":1,\"norm_num_groups\":8,"
    "\"cross_attention_dim\":12,\"attention_head_dim\":4,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]}";

struct stage {
    struct json *config;
    struct graph *graph;
    struct weights *weights; /* f16 and bf16 by turns                        */
    unsigned char *bytes;
    struct executor *x;
    uint32_t edge; /* of what is evaluated                                   */
    float sample[N_OUT], timestep[N], context[N * N_TOKENS * TOKEN];
};

static void make_weights(struct stage *s)
{
    struct safetensors_entry entries[MAX_PARAMS];
    size_t n = graph_n_params(s->graph), n_bytes;
    float *params[MAX_PARAMS];

    assert_true(n <= MAX_PARAMS);
    for (size_t i = 0; i < n; i++)
        params[i] =
            calloc(graph_param_at(s->graph, (param_id)i)->n, sizeof(float));
    assert_int_equal(network_draw(s->graph, 1, params, NULL), UNSTIR_OK);
    for (size_t i = 0; i < n; i++) {
        const struct graph_param *p = graph_param_at(s->graph, (param_id)i);

        entries[i] = (struct safetensors_entry){
            .name = p->name,
            .dtype = i % 3 == 2 ? DTYPE_BF16 : DTYPE_F16,
            .rank = p->rank,
            .data = params[i],
        };
        for (uint32_t d = 0; d < p->rank; d++)
            entries[i].dims[d] = p->dims[d];
    }
    assert_int_equal(
        safetensors_build(&s->bytes, &n_bytes, entries, n, NULL, 0, NULL),
        UNSTIR_OK);
    assert_int_equal(
        safetensors_parse(&s->weights, s->bytes, n_bytes, "test", NULL),
        UNSTIR_OK);
    for (size_t i = 0; i < n; i++)
        free(params[i]);
}

static void stage_init(struct stage *s)
{
    const struct model_size size = {1, EDGE, EDGE, N_TOKENS};
    struct rng rng;

    assert_int_equal(
        json_parse(&s->config, config_text, strlen(config_text), NULL),
        UNSTIR_OK);
    assert_int_equal(network_graph_of(&s->graph, s->config, NULL, &size, NULL),
                     UNSTIR_OK);
    make_weights(s);
    assert_int_equal(executor_new(&s->x, 2, 0, 0, NULL), UNSTIR_OK);
    rng_seed(&rng, 2);
    rng_normal_f32(&rng, s->sample, N_OUT);
    rng_normal_f32(&rng, s->context, ARRAY_LEN(s->context));
    s->edge = EDGE;
    s->timestep[0] = 900;
    s->timestep[1] = 17;
}

static void stage_fini(struct stage *s)
{
    executor_free(s->x);
    weights_close(s->weights);
    alloc_free(s->bytes);
    graph_free(s->graph);
    json_free(s->config);
}

static void evaluate(struct stage *s, const struct network *net,
                     float out[N_OUT])
{
    struct network_io io = {.n = N,
                            .h = s->edge,
                            .w = s->edge,
                            .sample = s->sample,
                            .timestep = s->timestep,
                            .context = s->context,
                            .context_len = N_TOKENS,
                            .out = out};
    struct unstir_error err = {0};

    memset(out, 0, N_OUT * sizeof *out);
    if (network_eval(net, s->x, &io, NULL, &err))
        fail_msg("%s", err.detail);
}

/* NULL: this CPU has no such rung. */
static struct network *open_as(const struct stage *s, const char *isa,
                               enum unstir_precision precision,
                               enum packs_keeping keeping)
{
    size_t n_rungs;
    struct network_options options = {.isa = isa,
                                      .precision = precision,
                                      .mode = LOWER_FUSED,
                                      .keeping = keeping,
                                      .ladder = tables_ladder(&n_rungs)};
    struct kernel_table k;
    struct network *net;
    struct unstir_error err = {0};

    options.n_rungs = n_rungs;
    if (!tables_select(&k, isa))
        return NULL;
    if (network_open(&net, s->config, s->weights, 0, &options, &err))
        fail_msg("%s: %s", isa, err.detail);
    return net;
}

static const struct rung {
    const char *isa;
    enum unstir_precision precision;
} rungs[] = {
    {"scalar", UNSTIR_PRECISION_F32},    {"portable", UNSTIR_PRECISION_F32},
    {"avx2", UNSTIR_PRECISION_F32},      {"avx2", UNSTIR_PRECISION_BF16},
    {"avx2", UNSTIR_PRECISION_INT8},     {"emulated", UNSTIR_PRECISION_BF16},
    {"emulated", UNSTIR_PRECISION_INT8}, {"avx512bf16", UNSTIR_PRECISION_BF16},
};

static void check_same(const char *what, const struct rung *r,
                       const float got[N_OUT], const float want[N_OUT])
{
    if (memcmp(got, want, N_OUT * sizeof *got) != 0)
        fail_msg("%s, %s, precision %d: got %g ..., packed weights give %g ...",
                 what, r->isa, (int)r->precision, (double)got[0],
                 (double)want[0]);
}

static void same_bits_and_fewer_bytes(void **state)
{
    struct stage *s = *state;
    float want[N_OUT], got[N_OUT];

    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        const struct rung *r = &rungs[i];
        struct network *packed = open_as(s, r->isa, r->precision, PACKS_PACKED);
        struct network *in_place =
            open_as(s, r->isa, r->precision, PACKS_IN_PLACE);
        bool is_blas = strcmp(r->isa, "portable") == 0;

        if (!packed)
            continue;
        evaluate(s, packed, want);
        evaluate(s, in_place, got);
        check_same("in place", r, got, want);
        if (!is_blas && packed->info.weight_bytes < in_place->info.weight_bytes)
            fail_msg("%s: in place %zu bytes of weights, packed %zu", r->isa,
                     in_place->info.weight_bytes, packed->info.weight_bytes);
        network_free(in_place);
        network_free(packed);
    }
}

/* Sizes at which convolutions go other ways than at the usual one. */
static void usual_size_and_others(void **state)
{
    static const uint32_t edges[] = {EDGE, 8, MAX_EDGE};
    struct stage *s = *state;
    float want[N_OUT], got[N_OUT];

    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        const struct rung *r = &rungs[i];
        struct network *packed = open_as(s, r->isa, r->precision, PACKS_PACKED);
        struct network *usual = open_as(s, r->isa, r->precision, PACKS_USUAL);

        if (!packed)
            continue;
        for (size_t j = 0; j < ARRAY_LEN(edges); j++) {
            s->edge = edges[j];
            evaluate(s, packed, want);
            evaluate(s, usual, got);
            check_same("packed for the usual size", r, got, want);
        }
        s->edge = EDGE;
        if (packed->info.weight_bytes < usual->info.weight_bytes)
            fail_msg("%s: %zu bytes for one size, %zu for all", r->isa,
                     usual->info.weight_bytes, packed->info.weight_bytes);
        network_free(usual);
        network_free(packed);
    }
}

/* What is measured without reading a weight is what opening takes. */
static void bytes_are_predicted(void **state)
{
    static const enum packs_keeping keepings[] = {PACKS_PACKED, PACKS_USUAL,
                                                  PACKS_IN_PLACE, PACKS_FRUGAL};
    struct stage *s = *state;

    for (size_t i = 0; i < ARRAY_LEN(keepings); i++) {
        struct network_options options = {.mode = LOWER_FUSED,
                                          .isa = "scalar",
                                          .keeping = keepings[i],
                                          .without_weights = true};
        struct network *net = open_as(s, "scalar", 0, keepings[i]), *told;

        assert_int_equal(
            network_open(&told, s->config, s->weights, 0, &options, NULL),
            UNSTIR_OK);
        assert_int_equal(told->info.weight_bytes, net->info.weight_bytes);
        network_free(told);
        network_free(net);
    }
}

/* f16 and bf16 are two bytes a number; what stays f32 is small. */
static void bytes_are_those_of_the_file(void **state)
{
    struct stage *s = *state;
    struct network *net =
        open_as(s, "scalar", UNSTIR_PRECISION_F32, PACKS_IN_PLACE);
    size_t n = 2 * (size_t)net->info.n_parameters;

    assert_in_range(net->info.weight_bytes, n, n + n / 8);
    assert_true(packs_bytes(net->packs) < n / 16);
    network_free(net);
}

/* Small networks are packed: the rule looks at nothing but bytes. */
static void small_networks_are_packed(void **state)
{
    struct stage *s = *state;
    struct network *packed =
        open_as(s, "scalar", UNSTIR_PRECISION_F32, PACKS_PACKED);
    struct network *by_size =
        open_as(s, "scalar", UNSTIR_PRECISION_F32, PACKS_BY_SIZE);

    assert_int_equal(packs_bytes(by_size->packs), packs_bytes(packed->packs));
    network_free(by_size);
    network_free(packed);
}

/* -- other values of some tensors --------------------------------------------- */

/* One of three joined products, a convolution, a product alone, a bias. */
static const char *const touched[] = {".attn1.to_k.weight", ".conv1.weight",
                                      ".attn2.to_out.0.weight", ".conv2.bias"};

static bool is_touched(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(touched); i++) {
        size_t n = strlen(name), m = strlen(touched[i]);

        if (n > m && strcmp(name + n - m, touched[i]) == 0)
            return true;
    }
    return false;
}

static struct weights *changed(const struct weights *base)
{
    struct weights *w;

    assert_int_equal(weights_new(&w, NULL), UNSTIR_OK);
    for (size_t i = 0; i < weights_len(base); i++) {
        struct tensor_view t = *weights_at(base, i);
        struct weights_source source = {.block = NULL};
        float *x;

        if (is_touched(t.name)) {
            assert_int_equal(
                alloc_aligned(&source.block, t.n, sizeof(float), NULL),
                UNSTIR_OK);
            x = source.block;
            dtype_load(x, t.data, t.dtype, t.n);
            for (size_t j = 0; j < t.n; j++)
                x[j] = x[j] * 1.25F + 0.001F;
            assert_int_equal(weights_add_source(w, &source, NULL), UNSTIR_OK);
            t.data = x;
            t.dtype = DTYPE_F32;
            t.n_bytes = t.n * sizeof *x;
        }
        assert_int_equal(weights_add(w, &t, NULL), UNSTIR_OK);
    }
    assert_int_equal(weights_seal(w, NULL), UNSTIR_OK);
    return w;
}

static void derive_and_evaluate(struct stage *s, const struct rung *r,
                                enum packs_keeping keeping, float out[N_OUT])
{
    struct network *base = open_as(s, r->isa, r->precision, keeping);
    struct weights *w = changed(s->weights);
    float before[N_OUT], after[N_OUT];
    struct network *net;

    evaluate(s, base, before);
    assert_int_equal(network_derive(&net, base, s->weights, w, NULL),
                     UNSTIR_OK);
    weights_close(w); /* they need not outlive it */
    evaluate(s, net, out);
    assert_true(net->info.weight_bytes < base->info.weight_bytes * 2);
    network_free(net);
    evaluate(s, base, after);
    check_same("the base", r, after, before);
    assert_true(memcmp(out, before, sizeof before) != 0);
    network_free(base);
}

static void derived_networks_agree(void **state)
{
    struct stage *s = *state;
    float want[N_OUT], got[N_OUT];
    struct kernel_table k;

    for (size_t i = 0; i < ARRAY_LEN(rungs); i++) {
        const struct rung *r = &rungs[i];

        if (!tables_select(&k, r->isa))
            continue;
        derive_and_evaluate(s, r, PACKS_PACKED, want);
        derive_and_evaluate(s, r, PACKS_IN_PLACE, got);
        check_same("derived", r, got, want);
        derive_and_evaluate(s, r, PACKS_USUAL, got);
        check_same("derived of one size", r, got, want);
    }
}

int main(void)
{
    static struct stage stage;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(same_bits_and_fewer_bytes, &stage),
        cmocka_unit_test_prestate(usual_size_and_others, &stage),
        cmocka_unit_test_prestate(bytes_are_predicted, &stage),
        cmocka_unit_test_prestate(bytes_are_those_of_the_file, &stage),
        cmocka_unit_test_prestate(small_networks_are_packed, &stage),
        cmocka_unit_test_prestate(derived_networks_agree, &stage),
    };
    int failed;

    stage_init(&stage);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    stage_fini(&stage);
    return failed;
}
