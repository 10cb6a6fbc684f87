/* t_network.c - opening and evaluating networks: allocation, plans, tensors
 * that are missing or too many, labels, cancelling, ceilings.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/cancel.h"
#include "base/compiler.h"
#include "base/notes.h"
#include "base/pool.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "golden.h"
#include "kernels/kernels.h"
#include "model/network_parts.h"
#include "ops/graph.h"
#include "ops/plan.h"
#include "tables.h"

#define EDGE       8
#define MAX_N      4
#define MAX_PARAMS 256
#define N_TOKENS   5
#define TOKEN      12 /* floats */
#define N_PIXELS   (MAX_N * 2 * EDGE * 2 * EDGE)

static const char config_text[] =
    "{\"in_channels\":1,\"out_channels\":1,\"sample_size\":8,"
    "\"block_out_channels\":[16,32],\"layers_per_block\":1,"
    "\"norm_num_groups\":8,\"num_class_embeds\":5,"
    "\"down_block_types\":[\"DownBlock2D\",\"AttnDownBlock2D\"],"
    "\"up_block_types\":[\"AttnUpBlock2D\",\"UpBlock2D\"]}";

static const char condition_text[] =
    "{\"_class_name\":\"UNet2DConditionModel\",\"in_channels\":1,"
    "\"out_channels\":1,\"sample_size\":8,\"block_out_channels\":[16,32],"
    "\"layers_per_block\":1,\"norm_num_groups\":8,"
    "\"cross_attention_dim\":12,\"attention_head_dim\":4,"
    "\"down_block_types\":[\"CrossAttnDownBlock2D\",\"DownBlock2D\"],"
    "\"up_block_types\":[\"UpBlock2D\",\"CrossAttnUpBlock2D\"]}";

static struct json *parse(const char *text)
{
    struct json *json;

    assert_int_equal(json_parse(&json, text, strlen(text), NULL), UNSTIR_OK);
    return json;
}

/* f32 on every CPU, as open_damaged(). */
static struct network *open_drawn(uint64_t seed, enum lower_mode mode)
{
    struct network_options options = {.mode = mode,
                                      .precision = UNSTIR_PRECISION_F32};
    struct unstir_error err = {0};
    struct json *config = parse(config_text);
    struct network *net;

    if (network_open(&net, config, NULL, seed, &options, &err))
        fail_msg("%s", err.detail);
    json_free(config); /* the network keeps its own */
    return net;
}

static struct executor *new_executor(size_t max_arena_bytes)
{
    struct executor *x;

    assert_int_equal(executor_new(&x, 2, 0, max_arena_bytes, NULL), UNSTIR_OK);
    return x;
}

struct io {
    float sample[N_PIXELS], out[N_PIXELS], timestep[MAX_N], label[MAX_N];
    struct network_io io;
};

static struct io *make_io(uint32_t n, uint32_t h, uint32_t w)
{
    static struct io io;

    for (size_t i = 0; i < N_PIXELS; i++)
        io.sample[i] = (float)(i % 17) / 8 - 1;
    for (uint32_t i = 0; i < MAX_N; i++) {
        io.timestep[i] = (float)(100 * i);
        io.label[i] = (float)i;
    }
    memset(io.out, 0, sizeof io.out);
    io.io = (struct network_io){.n = n,
                                .h = h,
                                .w = w,
                                .sample = io.sample,
                                .timestep = io.timestep,
                                .label = io.label,
                                .out = io.out};
    return &io;
}

static void eval_good(const struct network *net, struct executor *x,
                      const struct network_io *io)
{
    struct unstir_error err = {0};

    if (network_eval(net, x, io, NULL, &err))
        fail_msg("%s", err.detail);
}

static void test_info(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    const struct network_info *info = network_info(net);
    char start[64];

    (void)state;
    assert_string_equal(info->family, "UNet2DModel");
    /* rung, version of the rules, precision, flavour of convolution */
    snprintf(start, sizeof start, "%s-7-%s-", info->isa, info->precision);
    assert_memory_equal(info->fingerprint, start, strlen(start));
    assert_int_equal(info->in_channels, 1);
    assert_int_equal(info->sample_h, 8);
    assert_int_equal(info->size_multiple, 2);
    assert_int_equal(info->n_class_embeds, 5);
    assert_true(info->has_class_input);
    assert_true(info->weight_bytes >= info->n_parameters * sizeof(float) / 2);
    assert_int_equal(info->notes->n, 0);
    network_free(net);
}

static void test_portable_fingerprint_names_its_core(void **state)
{
    struct network_options options = {.isa = "portable"};
    struct json *config = parse(config_text);
    struct network *net;
    const char *f;

    (void)state;
    assert_int_equal(network_open(&net, config, NULL, 1, &options, NULL),
                     UNSTIR_OK);
    f = network_info(net)->fingerprint;
    assert_true(strncmp(f, "portable-7-f32-direct-", 22) == 0 &&
                strlen(f) > 22);
    network_free(net);
    json_free(config);
}

static bool is_always(const struct cpu *cpu)
{
    return true;
}

static void wrong_tile(const struct gemm_tile *t)
{
    t->c[0] = 1;
}

static void fill_wrong(struct kernel_table *table)
{
    gemm_kernels_scalar(&table->gemm);
    table->gemm.tile = wrong_tile;
}

/* A rung that miscomputes is passed over and named in a note; asked for by
 * name, it is an error. */
static void test_wrong_rung_is_not_used(void **state)
{
    struct kernel_rung ladder[] = {
        {"scalar", is_always, kernels_fill_scalar, false},
        {"broken", is_always, fill_wrong, false},
    };
    struct network_options options = {.ladder = ladder, .n_rungs = 2};
    struct json *config = parse(config_text);
    struct unstir_error err = {0};
    struct network *net;

    (void)state;
    assert_int_equal(network_open(&net, config, NULL, 1, &options, &err), 0);
    assert_string_equal(network_info(net)->isa, "scalar");
    assert_int_equal(network_info(net)->notes->n, 1);
    assert_non_null(strstr(network_info(net)->notes->texts[0], "broken"));
    assert_non_null(strstr(network_info(net)->notes->texts[0], "scalar"));
    network_free(net);
    options.isa = "broken";
    assert_int_equal(network_open(&net, config, NULL, 1, &options, &err),
                     UNSTIR_ERR_INTERNAL);
    assert_non_null(strstr(err.detail, "broken"));
    json_free(config);
}

/* Precision by request, and by the rung's own rule. */
static void test_precision(void **state)
{
    static const struct {
        const char *isa;
        enum unstir_precision precision;
        const char *fingerprint;
    } rows[] = {
        {"scalar", UNSTIR_PRECISION_AUTO, "scalar-7-f32-direct"},
        {"scalar", UNSTIR_PRECISION_BF16, "scalar-9-bf16-f2"},
        {"avx2", UNSTIR_PRECISION_AUTO, "avx2-7-f32-f4"},
        {"avx2", UNSTIR_PRECISION_BF16, "avx2-9-bf16-f2"},
        {"emulated", UNSTIR_PRECISION_AUTO, "emulated-9-bf16-f2"},
        {"emulated", UNSTIR_PRECISION_BF16, "emulated-9-bf16-f2"},
        {"emulated", UNSTIR_PRECISION_F32, "avx2-7-f32-f4"},
        {"scalar", UNSTIR_PRECISION_INT8, "scalar-11-int8-direct"},
        {"avx2", UNSTIR_PRECISION_INT8, "avx2-11-int8-f4"},
        {"emulated vnni", UNSTIR_PRECISION_INT8, "avx2-11-int8-f4"},
        {"emulated vnni", UNSTIR_PRECISION_F32, "avx2-7-f32-f4"},
        {"emulated", UNSTIR_PRECISION_INT8, "emulated-11-int8-f2"},
    };
    struct json *config = parse(config_text);
    struct kernel_table table;
    struct network *net;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct network_options options = {.isa = rows[i].isa,
                                          .precision = rows[i].precision};
        if (!tables_select(&table, rows[i].isa))
            continue;
        /* It lies upon all real rungs, and this one has more. */
        if (strcmp(rows[i].isa, "emulated vnni") == 0 &&
            tables_select(&table, "avx512bf16"))
            continue;
        options.ladder = tables_ladder(&options.n_rungs);
        assert_int_equal(network_open(&net, config, NULL, 1, &options, NULL),
                         0);
        assert_string_equal(network_info(net)->fingerprint,
                            rows[i].fingerprint);
        network_free(net);
    }
    json_free(config);
}

static void test_second_evaluation_allocates_nothing(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct executor *x = new_executor(0);
    struct io *io = make_io(2, EDGE, EDGE);
    uint64_t before;

    (void)state;
    eval_good(net, x, &io->io);
    before = alloc_test_count();
    for (int i = 0; i < 3; i++)
        eval_good(net, x, &io->io);
    assert_int_equal(alloc_test_count(), before);
    /* Sizes seen before stay planned, the larger arena serves both. */
    io = make_io(4, 2 * EDGE, 2 * EDGE);
    eval_good(net, x, &io->io);
    before = alloc_test_count();
    io = make_io(2, EDGE, EDGE);
    eval_good(net, x, &io->io);
    assert_int_equal(alloc_test_count(), before);
    executor_free(x);
    network_free(net);
}

/* Another network at the address of a freed one must not get its plans. */
static void test_plans_belong_to_their_network(void **state)
{
    struct executor *x = new_executor(0);
    float first[EDGE * EDGE];

    (void)state;
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct network *net = open_drawn(seed, LOWER_FUSED);
        struct io *io = make_io(1, EDGE, EDGE);

        eval_good(net, x, &io->io);
        if (seed == 1)
            memcpy(first, io->out, sizeof first);
        else
            assert_memory_not_equal(first, io->out, sizeof first);
        network_free(net);
    }
    executor_free(x);
}

/* More sizes than plans are kept: the oldest go, results stay. */
static void test_many_sizes(void **state)
{
    struct network *net = open_drawn(3, LOWER_FUSED);
    struct executor *x = new_executor(0);
    struct io *io = make_io(1, EDGE, EDGE);
    float first[EDGE * EDGE];

    (void)state;
    eval_good(net, x, &io->io);
    memcpy(first, io->out, sizeof first);
    for (uint32_t h = 2; h <= 16; h += 2)
        for (uint32_t w = 2; w <= 12; w += 2) {
            io = make_io(1, h, w);
            eval_good(net, x, &io->io);
        }
    io = make_io(1, EDGE, EDGE);
    eval_good(net, x, &io->io);
    assert_memory_equal(first, io->out, sizeof first);
    executor_free(x);
    network_free(net);
}

/* -- head and body ----------------------------------------------------- */

/* The output of the plan that is not cut in two. */
static void eval_whole(const struct network *net, const struct network_io *io,
                       float *out)
{
    void *externals[] = {(void *)io->sample, (void *)io->timestep,
                         (void *)io->label, out};
    struct pool *pool;
    struct plan *plan;
    void *arena;

    assert_int_equal(pool_new(&pool, 2, 0, NULL), UNSTIR_OK);
    assert_int_equal(network_plan(&plan, net, LOWER_WHOLE,
                                  &(struct model_size){io->n, io->h, io->w, 0},
                                  2, NULL),
                     UNSTIR_OK);
    assert_int_equal(alloc_aligned(&arena, plan_arena_bytes(plan), 1, NULL),
                     UNSTIR_OK);
    assert_int_equal(plan_run(plan, pool, arena, externals, NULL, NULL),
                     UNSTIR_OK);
    alloc_free(arena);
    plan_free(plan);
    pool_free(pool);
}

/* Head and body give the bytes of the whole, whatever was met before. */
static void test_head_and_body_are_the_whole(void **state)
{
    (void)state;
    for (size_t r = 0; golden_rung(r); r++) {
        struct network_options options = {.isa = golden_rung(r),
                                          .mode = LOWER_FUSED};
        struct json *config = parse(config_text);
        struct executor *x = new_executor(0);
        struct network *net;
        float want[MAX_N * EDGE * EDGE];

        assert_int_equal(network_open(&net, config, NULL, 1, &options, NULL),
                         UNSTIR_OK);
        assert_true(net->rows.step > 0);
        for (uint32_t n = 1; n <= MAX_N; n++) {
            struct io *io = make_io(n, EDGE, EDGE);

            if (n > 1) /* one known key twice among new ones */
                io->label[n - 1] = io->label[0], io->timestep[n - 1] = 0;
            eval_whole(net, &io->io, want);
            eval_good(net, x, &io->io);
            if (memcmp(io->out, want, n * EDGE * EDGE * sizeof(float)) != 0)
                fail_msg("%s, %u pictures: got %g ..., wanted %g ...",
                         options.isa, n, (double)io->out[0], (double)want[0]);
        }
        executor_free(x);
        network_free(net);
        json_free(config);
    }
}

static size_t n_steps_of(const struct network *net, enum lower_part part)
{
    const struct model_size size = {1, EDGE, EDGE, 1};
    struct plan *plan;
    size_t n;

    assert_int_equal(network_plan(&plan, net, part, &size, 1, NULL), UNSTIR_OK);
    n = plan_n_steps(plan);
    plan_free(plan);
    return n;
}

static void check_bytes(const char *what, const float *got, const float *want,
                        size_t n)
{
    if (memcmp(got, want, n * sizeof *got) != 0)
        fail_msg("%s: got %g ..., wanted %g ...", what, (double)got[0],
                 (double)want[0]);
}

/* Leaving the deep value behind changes no bit; the shallow layers make of it
 * the output that it belongs to, whoever else is in the batch, and of another
 * sample another output. */
static void check_deep(const char *text, const float *context, const char *isa)
{
    struct network_options options = {.isa = isa, .mode = LOWER_FUSED};
    struct json *config = parse(text);
    struct executor *x = new_executor(0);
    const size_t n_out = MAX_N * EDGE * EDGE;
    float want[MAX_N * EDGE * EDGE], deep[MAX_N * 32 * EDGE * EDGE];
    struct io *io = make_io(MAX_N, EDGE, EDGE);
    struct network *net;
    size_t n_deep;

    assert_int_equal(network_open(&net, config, NULL, 1, &options, NULL),
                     UNSTIR_OK);
    io->io.context = context;
    io->io.context_len = N_TOKENS;
    if (context)
        io->io.label = NULL;
    assert_true(net->info.is_deep);
    assert_int_equal(network_deep_floats(net, EDGE, EDGE, &n_deep, NULL),
                     UNSTIR_OK);
    assert_int_equal(n_deep, 32 * EDGE * EDGE);
    eval_good(net, x, &io->io);
    memcpy(want, io->out, sizeof want);
    io->io.deep = deep;
    eval_good(net, x, &io->io);
    check_bytes("deep", io->out, want, n_out);
    io->io.is_shallow = true;
    memset(io->out, 0, sizeof io->out);
    eval_good(net, x, &io->io);
    check_bytes("shallow", io->out, want, n_out);
    io->io.n = 1;
    io->io.deep = deep + n_deep;
    io->io.sample += EDGE * EDGE;
    io->io.timestep++;
    if (context)
        io->io.context += (size_t)N_TOKENS * TOKEN;
    else
        io->io.label++;
    eval_good(net, x, &io->io);
    check_bytes("alone", io->out, want + EDGE * EDGE, EDGE * EDGE);
    io->io.timestep++;
    eval_good(net, x, &io->io);
    assert_true(memcmp(io->out, want + EDGE * EDGE, EDGE * EDGE) != 0);
    assert_true(n_steps_of(net, LOWER_BODY_SHALLOW) <
                n_steps_of(net, LOWER_BODY));
    executor_free(x);
    network_free(net);
    json_free(config);
}

static void test_deep_and_shallow(void **state)
{
    float context[MAX_N * N_TOKENS * TOKEN];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(context); i++)
        context[i] = (float)(i % 13) / 6 - 1;
    for (size_t r = 0; golden_rung(r); r++) {
        check_deep(config_text, NULL, golden_rung(r));
        check_deep(condition_text, context, golden_rung(r));
    }
}

struct ahead_calls {
    size_t n, n_max;
};

static bool ahead_at(const void *arg, size_t k, float *timestep, float *label)
{
    struct ahead_calls *calls = (struct ahead_calls *)arg;

    calls->n++;
    *timestep = (float)(k / 2);
    *label = (float)(k % 2);
    return k < calls->n_max;
}

/* What was said to come is computed at once: then nothing is new any more and
 * nothing is allocated.  40 keys are three batches and some single ones. */
static void test_a_schedule_is_computed_ahead(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct executor *x = new_executor(0);
    struct io *io = make_io(1, EDGE, EDGE);
    struct ahead_calls calls = {.n_max = 42};
    float want[EDGE * EDGE];
    uint64_t before;

    (void)state;
    io->io.ahead = ahead_at;
    io->io.ahead_arg = &calls;
    eval_good(net, x, &io->io);
    assert_int_equal(calls.n, calls.n_max + 1);
    before = alloc_test_count();
    for (size_t k = 0; k < calls.n_max; k++) {
        io->timestep[0] = (float)(k / 2);
        io->label[0] = (float)(k % 2);
        eval_good(net, x, &io->io);
    }
    assert_int_equal(calls.n, calls.n_max + 1);
    assert_int_equal(alloc_test_count(), before);
    eval_whole(net, &io->io, want);
    assert_memory_equal(io->out, want, sizeof want);
    executor_free(x);
    network_free(net);
}

static void check_refused(const struct network *net,
                          const struct network_io *io, enum unstir_status want,
                          const char *word)
{
    struct executor *x = new_executor(0);
    struct unstir_error err = {0};
    enum unstir_status got = network_eval(net, x, io, NULL, &err);

    if (got != want || !strstr(err.detail, word))
        fail_msg("got %s \"%s\", wanted %s with \"%s\"",
                 unstir_status_name(got), err.detail, unstir_status_name(want),
                 word);
    executor_free(x);
}

static void test_refused_inputs(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct io *io;

    (void)state;
    io = make_io(1, EDGE, EDGE + 1);
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "multiples of 2");
    io = make_io(1, EDGE, EDGE);
    io->label[0] = 5;
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "0 to 4");
    io->label[0] = 0.5F;
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "whole");
    io->label[0] = NAN;
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "class");
    io->io.label = NULL;
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "label");
    io = make_io(0, EDGE, EDGE);
    check_refused(net, &io->io, UNSTIR_ERR_ARG, "needs pictures");
    network_free(net);
}

static void test_cancel(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct executor *x = new_executor(0);
    struct io *io = make_io(1, EDGE, EDGE);
    struct cancel cancel = {.next = NULL};

    (void)state;
    cancel_set(&cancel, true);
    assert_int_equal(network_eval(net, x, &io->io, &cancel, NULL),
                     UNSTIR_ERR_CANCELLED);
    cancel_set(&cancel, false);
    assert_int_equal(network_eval(net, x, &io->io, &cancel, NULL), UNSTIR_OK);
    executor_free(x);
    network_free(net);
}

static void test_arena_ceiling(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct executor *x = new_executor(1000);
    struct io *io = make_io(1, EDGE, EDGE);
    struct unstir_error err = {0};
    size_t bytes;

    (void)state;
    assert_int_equal(network_eval(net, x, &io->io, NULL, &err),
                     UNSTIR_ERR_LIMIT);
    assert_non_null(strstr(err.detail, "1000"));
    assert_int_equal(network_arena_bytes(net, 1, EDGE, EDGE, &bytes, NULL),
                     UNSTIR_OK);
    assert_true(bytes > 1000 && bytes < 10000000);
    executor_free(x);
    network_free(net);
}

/* -- checkpoints ------------------------------------------------------- */

enum damage { NONE, MISSING, MISSHAPEN, EXTRA, INTEGER, HALF };

/* A checkpoint of the network's own drawn parameters, damaged or not. */
static struct weights *make_weights(const struct graph *g, enum damage damage,
                                    unsigned char **bytes)
{
    struct safetensors_entry entries[MAX_PARAMS];
    size_t n = graph_n_params(g), n_bytes;
    float *params[MAX_PARAMS];
    struct weights *w;
    void *p;

    assert_true(n < MAX_PARAMS);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(alloc_zero(&p, graph_param_at(g, (param_id)i)->n,
                                    sizeof(float), NULL),
                         UNSTIR_OK);
        params[i] = p;
    }
    assert_int_equal(network_draw(g, 1, params, NULL), UNSTIR_OK);
    for (size_t i = 0; i < n; i++) {
        const struct graph_param *q = graph_param_at(g, (param_id)i);

        entries[i] = (struct safetensors_entry){
            .name = q->name,
            .dtype = damage == HALF ? DTYPE_F16 : DTYPE_F32,
            .rank = q->rank,
            .data = params[i],
        };
        for (uint32_t d = 0; d < q->rank; d++)
            entries[i].dims[d] = q->dims[d];
    }
    if (damage == EXTRA) {
        entries[n] = entries[0];
        entries[n++].name = "time_proj.W";
    }
    if (damage == MISSING)
        entries[3].name = "something.else";
    if (damage == INTEGER)
        entries[3].dtype = DTYPE_I32;
    if (damage == MISSHAPEN) {
        entries[0].rank = 1;
        entries[0].dims[0] = graph_param_at(g, 0)->n;
    }
    if (safetensors_build(bytes, &n_bytes, entries, n, NULL, 0, NULL) ||
        safetensors_parse(&w, *bytes, n_bytes, "test", NULL))
        fail_msg("no checkpoint");
    for (size_t i = 0; i < graph_n_params(g); i++)
        alloc_free(params[i]);
    return w;
}

/* What opening and evaluating such a checkpoint gave. */
struct outcome {
    struct unstir_error err;
    float out[EDGE * EDGE];
    char note[96]; /* the first */
    size_t n_notes;
};

static void look_at(const struct network *net, struct outcome *result)
{
    struct executor *x = new_executor(0);
    struct io *io = make_io(1, EDGE, EDGE);

    eval_good(net, x, &io->io);
    memcpy(result->out, io->out, sizeof result->out);
    executor_free(x);
    result->n_notes = network_info(net)->notes->n;
    if (result->n_notes)
        snprintf(result->note, sizeof result->note, "%s",
                 network_info(net)->notes->texts[0]);
}

static struct outcome open_damaged(enum damage damage, enum unstir_status want)
{
    const struct network_options options = {.mode = LOWER_FUSED,
                                            .precision = UNSTIR_PRECISION_F32};
    struct outcome result = {.n_notes = 0};
    struct json *config = parse(config_text);
    struct network *net;
    struct weights *w;
    unsigned char *bytes;
    struct graph *g;

    assert_int_equal(network_graph(&g, config, 1, EDGE, EDGE, NULL), UNSTIR_OK);
    w = make_weights(g, damage, &bytes);
    assert_int_equal(network_open(&net, config, w, 0, &options, &result.err),
                     want);
    if (net)
        look_at(net, &result);
    network_free(net);
    graph_free(g);
    json_free(config);
    weights_close(w);
    alloc_free(bytes);
    return result;
}

static void test_checkpoint_equals_drawn(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct outcome loaded = open_damaged(NONE, UNSTIR_OK);
    struct outcome half = open_damaged(HALF, UNSTIR_OK);
    struct outcome drawn = {.n_notes = 0};

    (void)state;
    look_at(net, &drawn);
    assert_memory_equal(loaded.out, drawn.out, sizeof drawn.out);
    /* 11 bits of every weight: REFERENCE 7.2 allows 2e-3 in L2. */
    golden_check("f16 weights",
                 golden_l2_error(half.out, loaded.out, EDGE * EDGE), 2e-3);
    network_free(net);
}

static void check_detail(enum damage damage, enum unstir_status want,
                         const char *word)
{
    struct outcome result = open_damaged(damage, want);

    if (!strstr(result.err.detail, word))
        fail_msg("\"%s\" lacks \"%s\"", result.err.detail, word);
}

static void test_damaged_checkpoints(void **state)
{
    struct outcome extra = open_damaged(EXTRA, UNSTIR_OK);

    (void)state;
    check_detail(MISSING, UNSTIR_ERR_FORMAT, "missing");
    check_detail(MISSHAPEN, UNSTIR_ERR_FORMAT, "shape");
    check_detail(INTEGER, UNSTIR_ERR_UNSUPPORTED, "I32");
    assert_int_equal(extra.n_notes, 1);
    assert_non_null(strstr(extra.note, "time_proj.W"));
}

/* -- lowering ---------------------------------------------------------- */

static size_t n_steps(enum lower_mode mode)
{
    struct network *net = open_drawn(1, mode);
    struct plan *plan;
    size_t n;

    assert_int_equal(network_plan(&plan, net, LOWER_WHOLE,
                                  &(struct model_size){1, EDGE, EDGE, 0}, 1,
                                  NULL),
                     UNSTIR_OK);
    n = plan_n_steps(plan);
    plan_free(plan);
    network_free(net);
    return n;
}

/* The fused plan must really be fused: of norms only the statistics remain
 * beside products and attentions. */
static void test_fusion_leaves_few_steps(void **state)
{
    struct network *net = open_drawn(1, LOWER_FUSED);
    struct plan *plan;

    (void)state;
    assert_true(2 * n_steps(LOWER_FUSED) < n_steps(LOWER_REFERENCE));
    assert_int_equal(network_plan(&plan, net, LOWER_WHOLE,
                                  &(struct model_size){1, EDGE, EDGE, 0}, 1,
                                  NULL),
                     UNSTIR_OK);
    for (size_t i = 0; i < plan_n_steps(plan); i++) {
        static const char *const gone[] = {"norm", "act",     "concat",
                                           "add",  "add_vec", "affine",
                                           "copy", "upsample"};

        for (size_t j = 0; j < ARRAY_LEN(gone); j++)
            if (strcmp(plan_step_name(plan, i), gone[j]) == 0 && i > 6)
                fail_msg("step %zu is \"%s\"", i, gone[j]);
    }
    plan_free(plan);
    network_free(net);
}

static void test_unknown_rung(void **state)
{
    struct network_options options = {.isa = "avx9"};
    struct json *config = parse(config_text);
    struct unstir_error err = {0};
    struct network *net;

    (void)state;
    assert_int_equal(network_open(&net, config, NULL, 1, &options, &err),
                     UNSTIR_ERR_ARG);
    assert_non_null(strstr(err.detail, "avx9"));
    assert_non_null(strstr(err.detail, "scalar"));
    json_free(config);
}

/* Every allocation of opening and of a first evaluation may fail. */
static void test_no_memory_is_told(void **state)
{
    struct json *config = parse(config_text);
    struct io *io = make_io(1, EDGE, EDGE);
    bool is_done = false;

    (void)state;
    for (long k = 1; !is_done && k < 100000; k += 1 + k / 8) {
        struct network_options options = {.isa = "scalar", .mode = LOWER_FUSED};
        struct network *net = NULL;
        struct executor *x = NULL;
        enum unstir_status status;

        alloc_test_fail_after(k);
        status = network_open(&net, config, NULL, 1, &options, NULL);
        if (status == UNSTIR_OK)
            status = executor_new(&x, 1, 0, 0, NULL);
        if (status == UNSTIR_OK)
            status = network_eval(net, x, &io->io, NULL, NULL);
        alloc_test_fail_after(0);
        is_done = status == UNSTIR_OK;
        if (!is_done && status != UNSTIR_ERR_NOMEM)
            fail_msg("allocation %ld: %s", k, unstir_status_name(status));
        executor_free(x);
        network_free(net);
    }
    assert_true(is_done);
    json_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_portable_fingerprint_names_its_core),
        cmocka_unit_test(test_wrong_rung_is_not_used),
        cmocka_unit_test(test_precision),
        cmocka_unit_test(test_second_evaluation_allocates_nothing),
        cmocka_unit_test(test_plans_belong_to_their_network),
        cmocka_unit_test(test_many_sizes),
        cmocka_unit_test(test_head_and_body_are_the_whole),
        cmocka_unit_test(test_deep_and_shallow),
        cmocka_unit_test(test_a_schedule_is_computed_ahead),
        cmocka_unit_test(test_refused_inputs),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_arena_ceiling),
        cmocka_unit_test(test_checkpoint_equals_drawn),
        cmocka_unit_test(test_damaged_checkpoints),
        cmocka_unit_test(test_fusion_leaves_few_steps),
        cmocka_unit_test(test_unknown_rung),
        cmocka_unit_test(test_no_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
