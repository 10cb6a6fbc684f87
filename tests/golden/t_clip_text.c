/* t_clip_text.c - text encoders against what the reference computed.
 *
 * On every rung; the last state, one layer before the end with and without
 * the final norm, the pooled vector and its projection; names with and without
 * the prefix; 1, 2 and 4 threads and piece by piece the same bytes.
 *
 * Tolerance 2e-5 of the largest value, as for the other networks
 * (t_unet2d.c): three layers of sums in another order; the reference's own
 * f32 is off by 1.2e-7 from f64 here.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "format/json.h"
#include "format/weights_build.h"
#include "golden.h"
#include "json_file.h"
#include "model/clip_text.h"
#include "model/network.h"
#include "text/inversion.h"

#define TOLERANCE      2e-5
#define BF16_TOLERANCE 3e-2 /* in the L2 norm, as t_unet2d.c */
#define N              2
#define LENGTH         8
#define CHANNELS       32
#define N_STATE        (N * LENGTH * CHANNELS)

static const char *const goldens[] = {"clip_text_gelu", "clip_text_quick_gelu"};

struct record {
    struct weights *golden, *weights;
    unsigned char *bytes;
    struct json *config;
    uint32_t ids[N * LENGTH];
};

static void record_open(struct record *r, const char *name)
{
    struct golden_tensor ids;

    r->golden = golden_open_named("modules", name);
    r->config = json_text(weights_metadata(r->golden, "config"));
    r->weights = golden_weights(r->golden, &r->bytes);
    ids = golden_get(r->golden, "in.ids");
    for (size_t i = 0; i < N * LENGTH; i++)
        r->ids[i] = (uint32_t)ids.data[i];
    golden_tensor_fini(&ids);
}

static void record_close(struct record *r)
{
    weights_close(r->weights);
    weights_close(r->golden);
    json_free(r->config);
    alloc_free(r->bytes);
}

static struct clip_text *open_text(const struct record *r, const char *isa,
                                   enum unstir_precision precision)
{
    struct network_options options = {.isa = isa, .precision = precision};
    struct unstir_error err = {0};
    struct clip_text *t;

    if (clip_text_open(&t, r->config, r->weights, &options, &err))
        fail_msg("%s", err.detail);
    return t;
}

static void encode(const struct clip_text *t, struct pool *pool,
                   const struct clip_text_io *io)
{
    struct unstir_error err = {0};

    if (clip_text_encode(t, pool, io, NULL, &err))
        fail_msg("%s", err.detail);
}

static void check(const struct record *r, const char *name, const char *isa,
                  const float *got, bool is_bf16)
{
    const struct tensor_view *want = weights_find(r->golden, name);
    char what[100];

    assert_non_null(want);
    snprintf(what, sizeof what, "%s %s%s", name, isa, is_bf16 ? " bf16" : "");
    if (is_bf16)
        golden_check(what, golden_l2_error(got, want->data, want->n),
                     BF16_TOLERANCE);
    else
        golden_check(what, golden_max_error(got, want->data, want->n),
                     TOLERANCE);
}

static void check_rung(const struct record *r, const char *isa, bool is_bf16)
{
    static const struct {
        const char *name;
        uint32_t skip;
        bool is_normed;
    } states[] = {{"out.last_hidden_state", 0, true},
                  {"out.hidden_m2", 1, false},
                  {"out.clip_skip1_normed", 1, true}};
    struct clip_text *t = open_text(
        r, isa, is_bf16 ? UNSTIR_PRECISION_BF16 : UNSTIR_PRECISION_F32);
    float hidden[N_STATE], pooled[N * CHANNELS];
    bool has_projection = clip_text_info(t)->projection != 0;

    assert_int_equal(has_projection, golden_has(r->golden, "out.text_embeds"));
    for (size_t i = 0; i < 3; i++) {
        struct clip_text_io io = {.n = N,
                                  .ids = r->ids,
                                  .skip = states[i].skip,
                                  .is_normed = states[i].is_normed,
                                  .hidden = hidden,
                                  .pooled = pooled};

        encode(t, NULL, &io);
        check(r, states[i].name, isa, hidden, is_bf16);
        check(r, has_projection ? "out.text_embeds" : "out.pooled", isa, pooled,
              is_bf16);
    }
    clip_text_free(t);
}

static void test_golden(void **state)
{
    struct record r;

    record_open(&r, *state);
    for (size_t i = 0; golden_rung(i); i++) {
        check_rung(&r, golden_rung(i), false);
        check_rung(&r, golden_rung(i), true);
    }
    record_close(&r);
}

/* Names as transformers 5 saves them give the same bytes as the old ones. */
static void test_names(void **state)
{
    struct record r;
    struct unstir_error err = {0};
    float old[N_STATE], new[N_STATE];
    struct clip_text_io io = {.n = N, .is_normed = true, .hidden = old};
    struct clip_text *t;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    clip_text_free(t);
    for (size_t i = 0; i < weights_len(r.weights); i++) {
        const char *name = weights_at(r.weights, i)->name;

        if (strncmp(name, "text_model.", 11) == 0)
            assert_int_equal(weights_rename(r.weights, i, name + 11, NULL),
                             UNSTIR_OK);
    }
    assert_int_equal(weights_seal(r.weights, &err), UNSTIR_OK);
    io.hidden = new;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    clip_text_free(t);
    assert_memory_equal(old, new, sizeof old);
    record_close(&r);
}

static void test_same_bytes(void **state)
{
    struct record r;
    float one[N_STATE], more[N_STATE];
    struct clip_text_io io = {.n = N, .hidden = one};
    struct clip_text *t;
    struct pool *pool;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    io.hidden = more;
    for (unsigned n = 2; n <= 4; n += 2) {
        assert_int_equal(pool_new(&pool, n, 0, NULL), UNSTIR_OK);
        encode(t, pool, &io);
        pool_free(pool);
        assert_memory_equal(one, more, sizeof one);
    }
    io.n = 1;
    for (uint32_t i = 0; i < N; i++) {
        io.ids = r.ids + i * LENGTH;
        io.hidden = more + (size_t)i * LENGTH * CHANNELS;
        encode(t, NULL, &io);
    }
    assert_memory_equal(one, more, sizeof one);
    clip_text_free(t);
    record_close(&r);
}

/* More pieces than one batch takes are the same pieces. */
static void test_many_pieces(void **state)
{
    struct record r;
    uint32_t ids[10 * LENGTH];
    float two[N_STATE], ten[5 * N_STATE];
    struct clip_text_io io = {.n = N, .hidden = two};
    struct clip_text *t;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    for (size_t i = 0; i < 5; i++)
        memcpy(ids + i * N * LENGTH, r.ids, sizeof r.ids);
    io = (struct clip_text_io){.n = 10, .ids = ids, .hidden = ten};
    encode(t, NULL, &io);
    for (size_t i = 0; i < 5; i++)
        assert_memory_equal(ten + i * N_STATE, two, sizeof two);
    clip_text_free(t);
    record_close(&r);
}

/* Weights multiply; the mean of a piece stays. */
static void test_weights(void **state)
{
    struct record r;
    float plain[N_STATE], weighted[N_STATE], weights[N * LENGTH];
    struct clip_text_io io = {.n = N, .is_normed = true, .hidden = plain};
    struct clip_text *t;
    size_t n = N_STATE / N;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    for (size_t i = 0; i < N * LENGTH; i++)
        weights[i] = i % LENGTH == 3 ? 1.5F : 1;
    io.weights = weights;
    io.hidden = weighted;
    encode(t, NULL, &io);
    for (size_t k = 0; k < N; k++) {
        const float *p = plain + k * n, *w = weighted + k * n;
        double before = 0, after = 0, raw = 0;

        for (size_t i = 0; i < n; i++) {
            before += p[i];
            after += w[i];
            raw += (double)p[i] * weights[i / CHANNELS];
        }
        /* n roundings of values up to 3.6 on a mean that is 256 times less
         * than the sum. */
        assert_true(fabs(before - after) < 1e-4);
        for (size_t i = 0; i < n; i++) {
            double want = p[i] * (double)weights[i / CHANNELS] * before / raw;

            if (fabs(w[i] - want) > 1e-6 * (1 + fabs(want)))
                fail_msg("piece %zu, %zu: %g, wanted %g", k, i, (double)w[i],
                         want);
        }
    }
    clip_text_free(t);
    record_close(&r);
}

/* One past the layers is what they start from. */
static void test_no_layer(void **state)
{
    struct record r;
    float got[N_STATE];
    struct clip_text_io io = {.n = N, .hidden = got, .skip = 3};
    const float *tokens, *places;
    struct clip_text *t;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_F32);
    encode(t, NULL, &io);
    tokens =
        weights_find(r.weights, "text_model.embeddings.token_embedding.weight")
            ->data;
    places = weights_find(r.weights,
                          "text_model.embeddings.position_embedding.weight")
                 ->data;
    for (size_t i = 0; i < N_STATE; i++) {
        size_t row = i / CHANNELS, c = i % CHANNELS;
        float want = tokens[r.ids[row] * CHANNELS + c] +
                     places[row % LENGTH * CHANNELS + c];

        if (got[i] != want)
            fail_msg("%zu: %g, wanted %g", i, (double)got[i], (double)want);
    }
    clip_text_free(t);
    record_close(&r);
}

/* A word with the vector of a token encodes as that token. */
static void test_inversion(void **state)
{
    struct record r;
    float plain[N_STATE], put[N_STATE];
    struct clip_text_io io = {.n = N, .hidden = plain};
    const struct tensor_view *table;
    struct inversion word = {
        .name = "x", .n_vectors = 1, .channels = {CHANNELS, 0}};
    struct inversions set = {.list = &word, .n = 1, .n_rows = 1};
    struct unstir_error err = {0};
    struct clip_text *t;

    record_open(&r, *state);
    io.ids = r.ids;
    t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
    encode(t, NULL, &io);
    table =
        weights_find(r.weights, "text_model.embeddings.token_embedding.weight");
    word.vectors[0] = (float *)table->data + (size_t)r.ids[2] * CHANNELS;
    r.ids[2] = 100;
    io = (struct clip_text_io){.n = N,
                               .ids = r.ids,
                               .inversions = &set,
                               .inversion_base = 100,
                               .hidden = put};
    encode(t, NULL, &io);
    assert_memory_equal(plain, put, sizeof plain);
    io.inversions = NULL;
    assert_int_equal(clip_text_encode(t, NULL, &io, NULL, &err),
                     UNSTIR_ERR_FORMAT);
    assert_non_null(strstr(err.detail, "token 100"));
    io.skip = 4;
    assert_int_equal(clip_text_encode(t, NULL, &io, NULL, &err),
                     UNSTIR_ERR_ARG);
    assert_string_equal(err.field, "clip_skip");
    clip_text_free(t);
    record_close(&r);
}

/* The summary is the token at EOS: the first id equal to eos_token_id, the
 * first token of a text that has none; where the file says 2, the first largest
 * id, which a word with vectors has if there is one (transformers 5.24.0,
 * CLIPTextTransformer.forward). */
static void test_eos(void **state)
{
    static const struct {
        uint32_t eos, ids[LENGTH], at;
    } rows[] = {
        {91, {90, 5, 6, 91, 91, 91, 91, 91}, 3},
        {91, {90, 5, 92, 93, 91, 0, 0, 0}, 4}, /* words with vectors         */
        {91, {90, 5, 6, 7, 8, 9, 10, 11}, 0},
        {2, {90, 5, 6, 91, 91, 2, 91, 91}, 3},
        {2, {90, 5, 93, 92, 93, 91, 91, 91}, 2},
        {2, {90, 92, 93, 91, 0, 0, 0, 0}, 2},
    };
    float hidden[LENGTH * CHANNELS], pooled[CHANNELS];
    float vectors[2 * CHANNELS] = {0.5F, [CHANNELS] = -0.5F};
    struct inversion word = {.name = "x",
                             .n_vectors = 2,
                             .channels = {CHANNELS, 0},
                             .vectors = {vectors}};
    struct inversions set = {.list = &word, .n = 1, .n_rows = 2};
    struct clip_text_io io = {.n = 1,
                              .inversions = &set,
                              .inversion_base = 92,
                              .is_normed = true,
                              .hidden = hidden,
                              .pooled = pooled};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct record r;
        struct clip_text *t;
        char config[256];

        record_open(&r, "clip_text_quick_gelu");
        json_free(r.config);
        snprintf(config, sizeof config,
                 "{\"hidden_size\": 32, \"num_attention_heads\": 4, "
                 "\"intermediate_size\": 64, \"num_hidden_layers\": 3, "
                 "\"vocab_size\": 92, \"max_position_embeddings\": 8, "
                 "\"eos_token_id\": %u}",
                 rows[i].eos);
        r.config = json_text(config);
        io.ids = rows[i].ids;
        t = open_text(&r, NULL, UNSTIR_PRECISION_AUTO);
        encode(t, NULL, &io);
        for (uint32_t k = 0; k < LENGTH; k++)
            if (memcmp(pooled, hidden + (size_t)k * CHANNELS, sizeof pooled) ==
                    0 &&
                k != rows[i].at)
                fail_msg("row %zu: the summary is token %u, wanted %u", i, k,
                         rows[i].at);
        assert_memory_equal(pooled, hidden + (size_t)rows[i].at * CHANNELS,
                            sizeof pooled);
        clip_text_free(t);
        record_close(&r);
    }
}

static void test_damage(void **state)
{
    static const struct {
        const char *config, *told;
    } rows[] = {
        {"{\"hidden_size\": 33, \"num_attention_heads\": 4}",
         "not a multiple of"},
        {"{\"hidden_act\": \"swish\"}", "supported: quick_gelu"},
        {"{\"hidden_size\": 64}", "wanted: 49408 x 64"},
        {"{\"hidden_size\": 0}", "hidden_size"},
        {"{\"layer_norm_eps\": 2}", "layer_norm_eps is 2"},
        {"{\"hidden_size\": 32, \"vocab_size\": 92, "
         "\"max_position_embeddings\": 9}",
         "position_embedding.weight: wanted: 9 x 32"},
        {"{\"hidden_size\": 32, \"vocab_size\": 92, "
         "\"max_position_embeddings\": 8}",
         "has shape"},
        {"{\"hidden_size\": 32, \"vocab_size\": 92, "
         "\"max_position_embeddings\": 8, \"intermediate_size\": 64, "
         "\"num_hidden_layers\": 4}",
         "layers.3.layer_norm1.weight is missing"},
    };
    struct record r;

    record_open(&r, goldens[0]);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct json *config = json_text(rows[i].config);
        struct unstir_error err = {0};
        struct clip_text *t;

        assert_int_not_equal(clip_text_open(&t, config, r.weights, NULL, &err),
                             UNSTIR_OK);
        assert_null(t);
        if (!strstr(err.detail, rows[i].told))
            fail_msg("%s: told \"%s\", wanted \"%s\"", rows[i].config,
                     err.detail, rows[i].told);
        json_free(config);
    }
    record_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {goldens[0], test_golden, NULL, NULL, (void *)goldens[0]},
        {goldens[1], test_golden, NULL, NULL, (void *)goldens[1]},
        {"names", test_names, NULL, NULL, (void *)goldens[0]},
        {"same bytes", test_same_bytes, NULL, NULL, (void *)goldens[0]},
        {"many pieces", test_many_pieces, NULL, NULL, (void *)goldens[1]},
        {"weights", test_weights, NULL, NULL, (void *)goldens[0]},
        {"no layer", test_no_layer, NULL, NULL, (void *)goldens[1]},
        {"inversion", test_inversion, NULL, NULL, (void *)goldens[1]},
        cmocka_unit_test(test_eos),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
