/* clip_text.c - the text encoders of Stable Diffusion.
 *
 * Tokens are looked up here and not in the graph: the table of 49,408 rows is
 * read row by row from the file, in whatever type it has there, and vectors of
 * textual inversions come in by the same way.
 *
 * Operations of the graph do not depend on what is asked of it (packed weights
 * go by operation): all layers run, and the state `skip` layers before the end
 * is one more output.  A plan is built for each call; that takes less than a
 * hundredth of running it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/clip_text.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/arena.h"
#include "base/pool.h"
#include "format/json.h"
#include "format/weights.h"
#include "kernels/kernels.h"
#include "model/network.h"
#include "model/param_load.h"
#include "nn/name.h"
#include "ops/graph.h"
#include "ops/plan.h"
#include "text/inversion.h"

#define PREFIX         "text_model."
#define MAX_CHANNELS   8192
#define MAX_LAYERS     128
#define MAX_LENGTH     4096
#define MAX_TOKENS     1000000
#define LEGACY_EOS     2
#define MAX_BATCH      8 /* pieces at once: bounds the arena                  */
#define N_GRAPH_INPUTS 1
#define N_OUTPUTS      3

struct config {
    uint32_t channels, hidden, heads, n_layers, length, n_tokens, eos;
    float eps;
    enum act act;
};

struct clip_text {
    struct clip_text_info info;
    struct config config;
    const char *prefix; /* of the names: "text_model." or ""                 */
    struct kernel_table table;
    struct packs *packs;
    float **own; /* parameters that plans read, where not in place           */
    size_t n_params;
    const struct tensor_view *tokens, *positions;
};

static const struct {
    const char *name;
    enum act act;
} acts[] = {{"quick_gelu", ACT_QUICK_GELU},
            {"gelu", ACT_GELU},
            {"gelu_new", ACT_GELU_TANH},
            {"gelu_pytorch_tanh", ACT_GELU_TANH}};

/* -- configuration ----------------------------------------------------- */

static enum unstir_status read_act(enum act *out, const struct json *config,
                                   struct unstir_error *err)
{
    const char *name;

    TRY(json_get_string(config, "hidden_act", "quick_gelu", &name, err));
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        if (strcmp(acts[i].name, name) == 0) {
            *out = acts[i].act;
            return UNSTIR_OK;
        }
    }
    return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                     "hidden_act \"%.40s\"; supported: quick_gelu, gelu, "
                     "gelu_new",
                     name);
}

static enum unstir_status read_config(struct config *c,
                                      const struct json *config,
                                      struct unstir_error *err)
{
    const struct {
        const char *key;
        int64_t fallback, max;
        uint32_t *out;
    } fields[] = {
        {"hidden_size", 512, MAX_CHANNELS, &c->channels},
        {"intermediate_size", 2048, 4 * MAX_CHANNELS, &c->hidden},
        {"num_attention_heads", 8, MAX_CHANNELS, &c->heads},
        {"num_hidden_layers", 12, MAX_LAYERS, &c->n_layers},
        {"max_position_embeddings", 77, MAX_LENGTH, &c->length},
        {"vocab_size", 49408, MAX_TOKENS, &c->n_tokens},
        {"eos_token_id", 49407, MAX_TOKENS, &c->eos},
    };
    double eps;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        int64_t v;

        TRY(json_get_int(config, fields[i].key, fields[i].fallback, 1,
                         fields[i].max, &v, err));
        *fields[i].out = (uint32_t)v;
    }
    TRY(json_get_real(config, "layer_norm_eps", 1e-5, &eps, err));
    if (!(eps > 0 && eps < 1))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "layer_norm_eps is %g; wanted: 0 to 1", eps);
    c->eps = (float)eps;
    if (c->channels % c->heads != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "hidden_size %u is not a multiple of "
                         "num_attention_heads %u",
                         c->channels, c->heads);
    return read_act(&c->act, config, err);
}

/* -- graph ------------------------------------------------------------- */

static value_id attention(const struct clip_text *t, struct graph *g,
                          const char *layer, value_id x)
{
    const struct config *c = &t->config;
    float scale = (float)(1 / sqrt((double)c->channels / c->heads));
    value_id q, k, v, o;

    q = graph_linear(g, name_of("%s.self_attn.q_proj", layer).text, x,
                     c->channels, true);
    k = graph_linear(g, name_of("%s.self_attn.k_proj", layer).text, x,
                     c->channels, true);
    v = graph_linear(g, name_of("%s.self_attn.v_proj", layer).text, x,
                     c->channels, true);
    o = graph_causal_attention(g, q, k, v, c->heads, scale);
    return graph_linear(g, name_of("%s.self_attn.out_proj", layer).text, o,
                        c->channels, true);
}

static value_id mlp(const struct clip_text *t, struct graph *g,
                    const char *layer, value_id x)
{
    x = graph_linear(g, name_of("%s.mlp.fc1", layer).text, x, t->config.hidden,
                     true);
    x = graph_act(g, x, t->config.act);
    return graph_linear(g, name_of("%s.mlp.fc2", layer).text, x,
                        t->config.channels, true);
}

static value_id encoder_layer(const struct clip_text *t, struct graph *g,
                              uint32_t i, value_id x)
{
    struct name layer = name_of("%sencoder.layers.%u", t->prefix, i);
    float eps = t->config.eps;
    value_id y;

    y = graph_layer_norm(g, name_of("%s.layer_norm1", layer.text).text, x, eps);
    x = graph_add(g, x, attention(t, g, layer.text, y));
    y = graph_layer_norm(g, name_of("%s.layer_norm2", layer.text).text, x, eps);
    return graph_add(g, x, mlp(t, g, layer.text, y));
}

static enum unstir_status build(struct graph **out, const struct clip_text *t,
                                uint32_t n, uint32_t skip,
                                struct unstir_error *err)
{
    const struct config *c = &t->config;
    struct name norm = name_of("%sfinal_layer_norm", t->prefix);
    struct shape shape = {n, 1, c->length, c->channels};
    enum unstir_status status;
    value_id x, raw, last;
    struct graph *g;

    *out = NULL;
    TRY(graph_new(&g, err));
    x = raw = graph_input(g, "embeddings", shape);
    for (uint32_t i = 0; i < c->n_layers; i++) {
        x = encoder_layer(t, g, i, x);
        if (i + skip + 1 == c->n_layers)
            raw = x;
    }
    last = graph_layer_norm(g, norm.text, x, c->eps);
    if (t->info.projection)
        last =
            graph_linear(g, "text_projection", last, t->info.projection, false);
    graph_output(g, "raw", raw);
    graph_output(g, "normed", graph_layer_norm(g, norm.text, raw, c->eps));
    graph_output(g, "pooled", last);
    status = graph_status(g, err);
    if (status != UNSTIR_OK) {
        graph_free(g);
        return status;
    }
    *out = g;
    return UNSTIR_OK;
}

/* -- opening ----------------------------------------------------------- */

static enum unstir_status choose_table(struct clip_text *t,
                                       const struct network_options *options,
                                       struct unstir_error *err)
{
    /* No layer of it has 8-bit products. */
    struct kernel_wish wish = {
        .isa = options->isa,
        .precision = options->precision == UNSTIR_PRECISION_INT8
                         ? UNSTIR_PRECISION_AUTO
                         : options->precision,
    };
    struct kernel_table *k = &t->table;
    const char *refused;

    TRY(kernels_choose(k, &wish, &refused, err));
    t->info.isa = k->isa;
    t->info.precision = k->gemm.is_bf16 ? "bf16" : "f32";
    return UNSTIR_OK;
}

static enum unstir_status find_table(const struct tensor_view **out,
                                     const struct clip_text *t,
                                     const struct weights *weights,
                                     const char *name, uint32_t rows,
                                     struct unstir_error *err)
{
    struct name full = name_of("%sembeddings.%s.weight", t->prefix, name);
    const struct tensor_view *v = weights_find(weights, full.text);

    *out = v;
    if (!v)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor %s is missing from the weights", full.text);
    if (v->rank != 2 || v->dims[0] < rows || v->dims[1] != t->config.channels ||
        !dtype_is_float(v->dtype))
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "tensor %s: wanted: %u x %u numbers", full.text, rows,
                         t->config.channels);
    return UNSTIR_OK;
}

static enum unstir_status find_tensors(struct clip_text *t,
                                       const struct weights *weights,
                                       struct unstir_error *err)
{
    const struct tensor_view *v =
        weights_find(weights, "text_projection.weight");

    t->prefix =
        weights_find(weights, PREFIX "final_layer_norm.weight") ? PREFIX : "";
    TRY(find_table(&t->tokens, t, weights, "token_embedding",
                   t->config.n_tokens, err));
    TRY(find_table(&t->positions, t, weights, "position_embedding",
                   t->config.length, err));
    if (v && v->rank == 2 && v->dims[0] >= 1 && v->dims[0] <= MAX_CHANNELS)
        t->info.projection = (uint32_t)v->dims[0];
    t->info.n_parameters = t->tokens->n + t->positions->n;
    return UNSTIR_OK;
}

static enum unstir_status load_all(struct clip_text *t, const float **params,
                                   struct packs_stored *stored,
                                   const struct graph *g,
                                   const struct weights *weights,
                                   struct unstir_error *err)
{
    struct param_source source = {g, weights};
    struct packs_params all = {.values = params,
                               .load = param_load_later,
                               .arg = &source,
                               .stored = stored};

    for (size_t i = 0; i < t->n_params; i++)
        t->info.n_parameters += graph_param_at(g, (param_id)i)->n;
    TRY(param_load_all(params, t->own, &source, err));
    param_stored_all(stored, params, t->own, &source);
    return packs_new(&t->packs, g, &t->table, LOWER_FUSED, &all, err);
}

static void drop_params(struct clip_text *t, const struct graph *g)
{
    t->info.weight_bytes = packs_bytes(t->packs);
    for (size_t i = 0; i < t->n_params; i++) {
        const struct packs_stored *stored = packs_stored(t->packs, (param_id)i);
        size_t n = graph_param_at(g, (param_id)i)->n;

        if (t->own[i] && !packs_needs(t->packs, (param_id)i)) {
            alloc_free(t->own[i]);
            t->own[i] = NULL;
        }
        if (t->own[i])
            t->info.weight_bytes += n * sizeof(float);
        else if (stored)
            t->info.weight_bytes += dtype_bytes(stored->type, n);
    }
}

static enum unstir_status pack(struct clip_text *t, const struct graph *g,
                               const struct weights *weights,
                               struct unstir_error *err)
{
    enum unstir_status status;
    void *params, *stored;

    t->n_params = graph_n_params(g);
    TRY(alloc_zero(&t->own, t->n_params, sizeof *t->own, err));
    TRY(alloc_zero(&params, t->n_params, sizeof(float *), err));
    status = alloc_zero(&stored, t->n_params, sizeof(struct packs_stored), err);
    if (status == UNSTIR_OK)
        status = load_all(t, params, stored, g, weights, err);
    if (status == UNSTIR_OK)
        drop_params(t, g);
    alloc_free(stored);
    alloc_free(params);
    return status;
}

/* The same numbers without reading a weight. */
static enum unstir_status measure(struct clip_text *t, const struct graph *g,
                                  const struct weights *weights,
                                  struct unstir_error *err)
{
    struct param_source source = {g, weights};
    enum unstir_status status;
    void *stored, *own;

    for (size_t i = 0; i < graph_n_params(g); i++)
        t->info.n_parameters += graph_param_at(g, (param_id)i)->n;
    TRY(alloc_zero(&stored, graph_n_params(g), sizeof(struct packs_stored),
                   err));
    status = alloc_zero(&own, graph_n_params(g), sizeof(float *), err);
    if (status == UNSTIR_OK) {
        param_stored_all(stored, NULL, own, &source);
        status = packs_measure(&t->info.weight_bytes, NULL, g, &t->table,
                               LOWER_FUSED, NULL,
                               &(struct packs_params){.stored = stored}, err);
        alloc_free(own);
    }
    alloc_free(stored);
    return status;
}

static enum unstir_status fill(struct clip_text *t, const struct json *config,
                               const struct weights *weights,
                               const struct network_options *options,
                               struct unstir_error *err)
{
    enum unstir_status status;
    struct graph *g;

    TRY(error_within(read_config(&t->config, config, err),
                     options->names.config, err));
    TRY(choose_table(t, options, err));
    TRY(error_within(find_tensors(t, weights, err), options->names.weights,
                     err));
    if (options->max_tokens && options->max_tokens < t->config.length)
        t->config.length = options->max_tokens;
    t->info.channels = t->config.channels;
    t->info.n_layers = t->config.n_layers;
    t->info.length = t->config.length;
    t->info.n_tokens = t->config.n_tokens;
    TRY(build(&g, t, 1, 0, err));
    status = options->without_weights ? measure(t, g, weights, err)
                                      : pack(t, g, weights, err);
    status = error_within(status, options->names.weights, err);
    graph_free(g);
    return status;
}

enum unstir_status clip_text_open(struct clip_text **out,
                                  const struct json *config,
                                  const struct weights *weights,
                                  const struct network_options *options,
                                  struct unstir_error *err)
{
    static const struct network_options fallback = {.mode = LOWER_FUSED};
    enum unstir_status status;
    void *p;

    *out = NULL;
    TRY(alloc_zero(&p, 1, sizeof(struct clip_text), err));
    status = fill(p, config, weights, options ? options : &fallback, err);
    if (status != UNSTIR_OK) {
        clip_text_free(p);
        return status;
    }
    *out = p;
    return UNSTIR_OK;
}

void clip_text_unload(struct clip_text *t)
{
    for (size_t i = 0; t->own && i < t->n_params; i++)
        alloc_free(t->own[i]);
    alloc_free(t->own);
    t->own = NULL;
    packs_free(t->packs);
    t->packs = NULL;
}

void clip_text_free(struct clip_text *t)
{
    if (!t)
        return;
    clip_text_unload(t);
    alloc_free(t);
}

const struct clip_text_info *clip_text_info(const struct clip_text *t)
{
    return &t->info;
}

/* -- encoding ---------------------------------------------------------- */

/* A batch of pieces on its way. */
struct batch {
    const struct clip_text *t;
    const struct clip_text_io *io;
    uint32_t first, n;
    float *embeddings; /* [n][length][channels], and the same of these:      */
    float *outputs[N_OUTPUTS]; /* raw, normed, pooled                        */
};

static void load_row(float *out, const struct tensor_view *t, size_t row)
{
    size_t c = (size_t)t->dims[1];

    dtype_load(out,
               (const unsigned char *)t->data + dtype_bytes(t->dtype, row * c),
               t->dtype, c);
}

static enum unstir_status embed_token(const struct batch *b, float *out,
                                      uint32_t id, struct unstir_error *err)
{
    const struct clip_text_io *io = b->io;
    uint32_t c = b->t->config.channels;
    const float *vector;

    if (io->inversions && id >= io->inversion_base) {
        TRY(inversions_row(io->inversions, &vector, id - io->inversion_base,
                           io->encoder, c, err));
        memcpy(out, vector, c * sizeof *out);
        return UNSTIR_OK;
    }
    if (id >= b->t->config.n_tokens)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "token %u: the text encoder knows %u; the tokenizer "
                         "is another model's",
                         id, b->t->config.n_tokens);
    load_row(out, b->t->tokens, id);
    return UNSTIR_OK;
}

/* position: scratch of a row. */
static enum unstir_status embed(const struct batch *b, float *position,
                                struct unstir_error *err)
{
    uint32_t length = b->t->config.length, c = b->t->config.channels;

    for (uint32_t i = 0; i < length; i++) {
        load_row(position, b->t->positions, i);
        for (uint32_t k = 0; k < b->n; k++) {
            size_t token = (size_t)(b->first + k) * length + i;
            float *out = b->embeddings + ((size_t)k * length + i) * c;

            TRY(embed_token(b, out, b->io->ids[token], err));
            for (uint32_t j = 0; j < c; j++)
                out[j] += position[j];
        }
    }
    return UNSTIR_OK;
}

/* Where EOS stands in a piece: its first place, the beginning if it has none.
 * Where a file says 2, it is the first largest id, of a word with vectors too,
 * as those stand behind the vocabulary. */
static uint32_t eos_at(const struct batch *b, const uint32_t *ids)
{
    const struct config *c = &b->t->config;
    uint32_t best = 0;

    for (uint32_t i = 0; i < c->length; i++) {
        if (c->eos != LEGACY_EOS && ids[i] == c->eos)
            return i;
        if (c->eos == LEGACY_EOS && ids[i] > ids[best])
            best = i;
    }
    return best;
}

static double mean(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum / (double)n;
}

/* The webui's emphasis: multiply, then give the piece its mean back. */
static void emphasize(float *x, const float *weights, uint32_t length,
                      uint32_t c)
{
    size_t n = (size_t)length * c;
    double before = mean(x, n), after;

    for (uint32_t i = 0; i < length; i++)
        for (uint32_t j = 0; j < c; j++)
            x[(size_t)i * c + j] *= weights[i];
    after = mean(x, n);
    if (after == 0)
        return;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(x[i] * (before / after));
}

static void give_results(const struct batch *b)
{
    const struct clip_text_io *io = b->io;
    uint32_t length = b->t->config.length, c = b->t->config.channels;
    uint32_t width = b->t->info.projection ? b->t->info.projection : c;
    const float *states = b->outputs[io->is_normed ? 1 : 0];

    for (uint32_t k = 0; k < b->n; k++) {
        size_t piece = b->first + k, n = (size_t)length * c;
        const uint32_t *ids = io->ids + piece * length;
        float *hidden = io->hidden + piece * n;
        size_t eos = (size_t)k * length + eos_at(b, ids);

        memcpy(hidden, states + k * n, n * sizeof *hidden);
        if (io->weights)
            emphasize(hidden, io->weights + piece * length, length, c);
        if (io->pooled)
            memcpy(io->pooled + piece * width, b->outputs[2] + eos * width,
                   width * sizeof *hidden);
    }
}

static enum unstir_status run_plan(const struct batch *b, struct pool *pool,
                                   const struct plan *plan,
                                   const struct cancel *cancel,
                                   struct unstir_error *err)
{
    void *externals[N_GRAPH_INPUTS + N_OUTPUTS] = {b->embeddings};
    struct arena arena = {0};
    enum unstir_status status;

    for (size_t i = 0; i < N_OUTPUTS; i++)
        externals[N_GRAPH_INPUTS + i] = b->outputs[i];
    TRY(arena_reserve(&arena, plan_arena_bytes(plan), err));
    status = plan_run(plan, pool, arena.base, externals, cancel, err);
    arena_fini(&arena);
    return status;
}

static enum unstir_status run(const struct batch *b, struct pool *pool,
                              const struct cancel *cancel,
                              struct unstir_error *err)
{
    unsigned n_threads = pool ? pool_threads(pool) : 1;
    enum unstir_status status;
    struct graph *g;
    struct plan *plan;

    TRY(build(&g, b->t, b->n, b->io->skip, err));
    status = lower_inference(&plan, g, b->t->packs, n_threads, err);
    graph_free(g);
    if (status != UNSTIR_OK)
        return status;
    status = run_plan(b, pool, plan, cancel, err);
    plan_free(plan);
    return status;
}

static enum unstir_status encode_batch(struct batch *b, struct pool *pool,
                                       const struct cancel *cancel,
                                       struct unstir_error *err)
{
    size_t rows = (size_t)b->n * b->t->config.length;
    size_t c = b->t->config.channels;
    size_t width = b->t->info.projection ? b->t->info.projection : c;
    enum unstir_status status;

    TRY(alloc_aligned(&b->embeddings, rows * (3 * c + width) + c, sizeof(float),
                      err));
    b->outputs[0] = b->embeddings + rows * c;
    b->outputs[1] = b->outputs[0] + rows * c;
    b->outputs[2] = b->outputs[1] + rows * c;
    status = embed(b, b->outputs[2] + rows * width, err);
    if (status == UNSTIR_OK)
        status = run(b, pool, cancel, err);
    if (status == UNSTIR_OK)
        give_results(b);
    alloc_free(b->embeddings);
    return status;
}

enum unstir_status clip_text_encode(const struct clip_text *t,
                                    struct pool *pool,
                                    const struct clip_text_io *io,
                                    const struct cancel *cancel,
                                    struct unstir_error *err)
{
    struct batch b = {.t = t, .io = io};

    if (!t->packs)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the text encoder was opened without its weights, or "
                         "they were unloaded");
    if (io->skip > t->config.n_layers)
        return error_field(err, "clip_skip",
                           "%u layers are skipped; the text encoder has %u",
                           io->skip, t->config.n_layers);
    for (; b.first < io->n; b.first += b.n) {
        b.n = io->n - b.first < MAX_BATCH ? io->n - b.first : MAX_BATCH;
        TRY(encode_batch(&b, pool, cancel, err));
    }
    return UNSTIR_OK;
}
