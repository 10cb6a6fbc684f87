/* network.c - opening a network: configuration, parameters, packing.
 *
 * Every tensor that the graph names must be in the checkpoint with its shape; a
 * trailing run of ones is forgiven (old files keep linear layers as 1x1
 * convolutions).  The weights of a big network's products are used in place,
 * whatever their type (ops/weight_rows.h).  Of the rest, f32 tensors are used
 * in place while packing and, if aligned, afterwards; others are converted, and
 * dropped again once packed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model/network.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/cpu.h"
#include "format/json.h"
#include "format/weights.h"
#include "format/weights_build.h"
#include "model/network_parts.h"
#include "model/param_load.h"
#include "ops/conv2d.h"
#include "ops/graph.h"
#include "ops/lower.h"
#include "ops/packs.h"
#include "ops/plan.h"

/* Raised when the same network and rung give other bits in that precision. */
static const struct {
    const char *name;
    int version;
} numerics[] = {{"f32", 7}, {"bf16", 9}, {"int8", 11}};

#define MAX_NAMED_EXTRAS 8
#define CONFIG_NAME      "config.json" /* where nothing better is known     */

/* -- graphs ------------------------------------------------------------ */

static enum unstir_status build_graph(struct graph **g,
                                      const struct family *family,
                                      const struct json *config,
                                      const struct model_size *size,
                                      struct unstir_error *err)
{
    enum unstir_status status;

    *g = NULL;
    TRY(graph_new(g, err));
    status = family->build(*g, config, size, err);
    if (status != UNSTIR_OK) {
        graph_free(*g);
        *g = NULL;
    }
    return status;
}

enum unstir_status network_graph_of(struct graph **g, const struct json *config,
                                    const char *part,
                                    const struct model_size *size,
                                    struct unstir_error *err)
{
    const struct family *family;

    *g = NULL;
    TRY(model_family(&family, config, part, err));
    return build_graph(g, family, config, size, err);
}

enum unstir_status network_graph(struct graph **g, const struct json *config,
                                 uint32_t n, uint32_t h, uint32_t w,
                                 struct unstir_error *err)
{
    struct model_size size = {n, h, w, NETWORK_CONTEXT_LEN};

    return network_graph_of(g, config, NULL, &size, err);
}

uint32_t network_smallest_edge(const struct model_facts *facts)
{
    return facts->min_edge ? facts->min_edge : facts->size_multiple;
}

static enum unstir_status check_size(const struct model_facts *facts,
                                     const struct model_size *size,
                                     struct unstir_error *err)
{
    uint32_t m = facts->size_multiple;

    if (size->h == 0 || size->w == 0 || size->h % m != 0 || size->w % m != 0)
        return error_set(err, UNSTIR_ERR_ARG,
                         "a picture of %u x %u; edges must be multiples of %u",
                         size->w, size->h, m);
    if (facts->context_width && size->context_len == 0)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the network reads a text; its context is empty");
    return UNSTIR_OK;
}

enum unstir_status network_check_loaded(const struct network *net,
                                        struct unstir_error *err)
{
    if (net->packs)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG,
                     "the %s was opened without its weights, or they were "
                     "unloaded",
                     net->info.family);
}

enum unstir_status network_plan(struct plan **out, const struct network *net,
                                enum lower_part part,
                                const struct model_size *size,
                                unsigned n_threads, struct unstir_error *err)
{
    struct graph *g;
    enum unstir_status status;

    *out = NULL;
    TRY(network_check_loaded(net, err));
    TRY(check_size(&net->facts, size, err));
    TRY(build_graph(&g, net->family, net->config, size, err));
    status = lower_inference_part(out, g, net->packs, part, n_threads, err);
    graph_free(g);
    return status;
}

enum unstir_status network_deep_floats(const struct network *net, uint32_t h,
                                       uint32_t w, size_t *floats,
                                       struct unstir_error *err)
{
    struct model_size size = {1, h, w, 1};
    struct graph *g;
    struct shape s;

    *floats = 0;
    if (!net->info.is_deep)
        return UNSTIR_OK;
    TRY(check_size(&net->facts, &size, err));
    TRY(build_graph(&g, net->family, net->config, &size, err));
    s = graph_shape(g, graph_deep(g));
    *floats = (size_t)s.h * s.w * s.c;
    graph_free(g);
    return UNSTIR_OK;
}

enum unstir_status network_flops(const struct network *net, uint32_t h,
                                 uint32_t w, double *whole, double *shallow,
                                 struct unstir_error *err)
{
    struct model_size size = {1, h, w, NETWORK_CONTEXT_LEN};
    enum unstir_status status = UNSTIR_OK;
    struct graph *g;

    *whole = 0;
    TRY(check_size(&net->facts, &size, err));
    TRY(build_graph(&g, net->family, net->config, &size, err));
    *whole = graph_flops(g);
    if (shallow)
        *shallow = *whole;
    if (shallow && net->info.is_deep)
        status = graph_shallow_flops(shallow, g, err);
    graph_free(g);
    return status;
}

/* -- rung -------------------------------------------------------------- */

static const char *flavour_of(const struct kernel_table *t)
{
    if (!t->wino.is_used)
        return "direct";
    return t->wino.edge == 2 ? "f2" : "f4";
}

/* Everything that a result's bits depend on besides the network. */
static void put_fingerprint(struct network *net, size_t precision)
{
    const struct kernel_table *t = &net->table;

    net->info.precision = numerics[precision].name;
    snprintf(net->fingerprint, sizeof net->fingerprint, "%s-%d-%s-%s%s%s",
             t->isa, numerics[precision].version, net->info.precision,
             flavour_of(t), conv2d_library(t)[0] ? "-" : "", conv2d_library(t));
    net->info.fingerprint = net->fingerprint;
}

static enum unstir_status choose_table(struct network *net,
                                       const struct network_options *options,
                                       struct unstir_error *err)
{
    struct kernel_wish wish = {options->isa, options->precision,
                               options->ladder, options->n_rungs};
    struct kernel_table *t = &net->table;
    const char *refused;

    TRY(kernels_choose(t, &wish, &refused, err));
    net->info.isa = t->isa;
    put_fingerprint(net, t->i8.is_used ? 2 : t->gemm.is_bf16);
    if (!refused)
        return UNSTIR_OK;
    return notes_add(&net->notes, err,
                     "the %.40s kernels disagree with the plain ones on this "
                     "machine; %.40s is used instead",
                     refused, t->isa);
}

/* -- parameters -------------------------------------------------------- */

static enum unstir_status own_param(struct network *net, size_t p, size_t n,
                                    struct unstir_error *err)
{

    TRY(alloc_aligned(&net->own_params[p], n, sizeof(float), err));
    return UNSTIR_OK;
}

static enum unstir_status draw_params(struct network *net, const float **params,
                                      const struct graph *g, uint64_t seed,
                                      struct unstir_error *err)
{
    for (size_t i = 0; i < net->n_params; i++) {
        TRY(own_param(net, i, graph_param_at(g, (param_id)i)->n, err));
        params[i] = net->own_params[i];
    }
    return network_draw(g, seed, net->own_params, err);
}

static bool is_param(const struct graph *g, const char *name)
{
    for (size_t i = 0; i < graph_n_params(g); i++)
        if (strcmp(graph_param_at(g, (param_id)i)->name, name) == 0)
            return true;
    return false;
}

static enum unstir_status note_extras(struct network *net,
                                      const struct graph *g,
                                      const struct weights *weights,
                                      struct unstir_error *err)
{
    size_t n = 0;

    for (size_t i = 0; weights && i < weights_len(weights); i++) {
        const char *name = weights_at(weights, i)->name;

        if (is_param(g, name) || n++ >= MAX_NAMED_EXTRAS)
            continue;
        TRY(notes_add(&net->notes, err, "tensor %.200s is not used", name));
    }
    if (n > MAX_NAMED_EXTRAS)
        TRY(notes_add(&net->notes, err, "%zu more tensors are not used",
                      n - MAX_NAMED_EXTRAS));
    return UNSTIR_OK;
}

/* -- opening ----------------------------------------------------------- */

static enum unstir_status copy_config(struct network *net,
                                      const struct json *config,
                                      struct unstir_error *err)
{
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_put_value(w, NULL, config);
    return json_finish_value(&net->config, w, err);
}

/* Free the converted parameters that only packing needed, and count what
 * evaluations read. */
static void drop_params(struct network *net, const struct graph *g)
{
    for (size_t i = 0; i < net->n_params; i++) {
        const struct packs_stored *stored =
            packs_stored(net->packs, (param_id)i);
        size_t n = graph_param_at(g, (param_id)i)->n;

        if (net->own_params[i] && !packs_needs(net->packs, (param_id)i)) {
            alloc_free(net->own_params[i]);
            net->own_params[i] = NULL;
        }
        if (net->own_params[i])
            net->info.weight_bytes += n * sizeof(float);
        else if (stored)
            net->info.weight_bytes += dtype_bytes(stored->type, n);
    }
}

/* Room to say where parameters are stored. */
static enum unstir_status stored_new(struct packs_stored **out,
                                     const struct graph *g,
                                     struct unstir_error *err)
{

    *out = NULL;
    TRY(alloc_zero(out, graph_n_params(g), sizeof **out, err));
    return UNSTIR_OK;
}

/* The same numbers without reading a weight. */
static enum unstir_status
measure_params(struct network *net, const struct graph *g,
               const struct graph *usual, const struct weights *weights,
               const struct network_options *options, struct unstir_error *err)
{
    struct param_source source = {g, weights};
    enum unstir_status status;
    struct packs_stored *stored;
    void *own;

    for (size_t i = 0; i < graph_n_params(g); i++)
        net->info.n_parameters += graph_param_at(g, (param_id)i)->n;
    TRY(stored_new(&stored, g, err));
    status = alloc_zero(&own, graph_n_params(g), sizeof(float *), err);
    if (status == UNSTIR_OK) {
        struct packs_params all = {
            .stored = stored, .keeping = options->keeping, .usual = usual};

        param_stored_all(stored, NULL, own, &source);
        status = packs_measure(&net->info.weight_bytes, NULL, g, &net->table,
                               options->mode, NULL, &all, err);
        alloc_free(own);
    }
    alloc_free(stored);
    return status;
}

static enum unstir_status
pack_params(struct network *net, const struct graph *g,
            const struct graph *usual, const struct weights *weights,
            uint64_t seed, const struct network_options *options,
            struct unstir_error *err)
{
    struct param_source source = {g, weights};
    struct packs_stored *stored = NULL;
    enum unstir_status status;
    void *params;

    net->n_params = graph_n_params(g);
    TRY(alloc_zero(&net->own_params, net->n_params, sizeof(float *), err));
    TRY(alloc_zero(&params, net->n_params, sizeof(float *), err));
    for (size_t i = 0; i < net->n_params; i++)
        net->info.n_parameters += graph_param_at(g, (param_id)i)->n;
    status = weights ? param_load_all(params, net->own_params, &source, err)
                     : draw_params(net, params, g, seed, err);
    if (status == UNSTIR_OK)
        status = stored_new(&stored, g, err);
    if (status == UNSTIR_OK) {
        struct packs_params all = {.values = params,
                                   .load = param_load_later,
                                   .arg = &source,
                                   .stored = stored,
                                   .keeping = options->keeping,
                                   .usual = usual,
                                   .forget = param_forget};

        param_stored_all(stored, params, net->own_params, &source);
        status = packs_new_cached(
            &net->packs, g, &net->table, options->mode, &all, &options->cache,
            net->fingerprint, &net->info.pack_source, &net->pack_writer, err);
    }
    alloc_free(stored);
    alloc_free(params);
    if (status != UNSTIR_OK)
        return status;
    net->info.weight_bytes = packs_bytes(net->packs);
    net->info.is_in_place = packs_is_in_place(net->packs);
    drop_params(net, g);
    return note_extras(net, g, weights, err);
}

static void describe(struct network *net)
{
    const struct model_facts *facts = &net->facts;
    struct network_info *info = &net->info;
    struct timespec now;

    info->family = net->family->name;
    info->in_channels = facts->in_channels;
    info->out_channels = facts->out_channels;
    info->sample_h = facts->sample_h;
    info->sample_w = facts->sample_w;
    info->size_multiple = facts->size_multiple;
    info->n_class_embeds = facts->label_rows;
    info->has_class_input = facts->has_label;
    info->label_width = facts->label_width;
    info->has_timestep = facts->has_timestep;
    info->context_width = facts->context_width;
    info->pooled_width = facts->pooled_width;
    info->n_time_ids = facts->n_time_ids;
    info->guidance_width = facts->guidance_width;
    info->up = facts->up ? facts->up : 1;
    info->down = facts->down ? facts->down : 1;
    info->notes = &net->notes;
    clock_gettime(CLOCK_MONOTONIC, &now);
    net->opened_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The graph of the smallest picture; its parameters are those of any size. */
static enum unstir_status read_config(struct network *net, struct graph **g,
                                      const struct json *config,
                                      const char *part,
                                      struct unstir_error *err)
{
    struct model_size size = {.n = 1, .context_len = 1};

    TRY(model_family(&net->family, config, part, err));
    TRY(net->family->facts(&net->facts, config, err));
    TRY(copy_config(net, config, err));
    size.h = size.w = network_smallest_edge(&net->facts);
    return build_graph(g, net->family, net->config, &size, err);
}

/* That of the picture that the model is for; NULL: its configuration names none
 * that can be. */
static struct graph *usual_graph(const struct network *net)
{
    struct model_size size = {.n = 1,
                              .h = net->facts.sample_h,
                              .w = net->facts.sample_w,
                              .context_len = 1};
    struct graph *g = NULL;

    if (check_size(&net->facts, &size, NULL) == UNSTIR_OK)
        (void)build_graph(&g, net->family, net->config, &size, NULL);
    return g;
}

static enum unstir_status fill(struct network *net, const struct json *config,
                               const struct weights *weights, uint64_t seed,
                               const struct network_options *options,
                               struct unstir_error *err)
{
    const struct network_names *names = &options->names;
    struct graph *g = NULL, *usual;
    enum unstir_status status;

    TRY(choose_table(net, options, err));
    TRY(error_within(read_config(net, &g, config, options->part, err),
                     names->config ? names->config : CONFIG_NAME, err));
    usual = usual_graph(net);
    status = options->without_weights
                 ? measure_params(net, g, usual, weights, options, err)
                 : pack_params(net, g, usual, weights, seed, options, err);
    graph_free(usual);
    status = error_within(status, names->weights, err);
    if (status == UNSTIR_OK && options->mode == LOWER_FUSED)
        status = lower_row_floats(&net->rows, g, err);
    net->info.is_deep = net->rows.step > 0 && graph_deep(g) != GRAPH_NO_VALUE;
    graph_free(g);
    describe(net);
    return status;
}

enum unstir_status network_open(struct network **out, const struct json *config,
                                const struct weights *weights, uint64_t seed,
                                const struct network_options *options,
                                struct unstir_error *err)
{
    static const struct network_options fallback = {.mode = LOWER_FUSED};
    enum unstir_status status;
    void *p;

    *out = NULL;
    TRY(alloc_zero(&p, 1, sizeof(struct network), err));
    status = fill(p, config, weights, seed, options ? options : &fallback, err);
    if (status != UNSTIR_OK) {
        network_free(p);
        return status;
    }
    *out = p;
    return UNSTIR_OK;
}

/* -- deriving ---------------------------------------------------------- */

struct derivation {
    const struct network *base;
    const struct weights *base_weights;
    struct weights *weights;
    const struct graph *g;
    const float **params;
    struct packs_stored *stored;
    bool *touched, *wanted;
};

static bool is_touched(const struct derivation *d, const char *name)
{
    const struct tensor_view *was = weights_find(d->base_weights, name);
    const struct tensor_view *is = weights_find(d->weights, name);

    return was && is && was->data != is->data;
}

/* What is touched, taken from the derived weights or copied: they end before
 * the network. */
static enum unstir_status derive_params(struct network *net,
                                        const struct derivation *d,
                                        struct unstir_error *err)
{
    for (size_t i = 0; i < net->n_params; i++) {
        const struct graph_param *want = graph_param_at(d->g, (param_id)i);

        if (!d->wanted[i]) {
            d->params[i] = packs_param(d->base->packs, (param_id)i);
            continue;
        }
        TRY(param_load(&d->params[i], &net->own_params[i], want, d->weights,
                       err));
        if (net->own_params[i] || !d->touched[i])
            continue;
        net->own_params[i] = weights_take_block(d->weights, d->params[i]);
        if (net->own_params[i])
            continue;
        TRY(own_param(net, i, want->n, err));
        memcpy(net->own_params[i], d->params[i], want->n * sizeof(float));
        d->params[i] = net->own_params[i];
    }
    return UNSTIR_OK;
}

/* What is touched lies in own memory, all else where the base reads it. */
static void derive_stored(const struct network *net, const struct derivation *d)
{
    for (size_t i = 0; i < net->n_params; i++) {
        const struct packs_stored *of_base =
            packs_stored(d->base->packs, (param_id)i);

        if (net->own_params[i])
            d->stored[i] = (struct packs_stored){net->own_params[i], DTYPE_F32};
        else if (of_base)
            d->stored[i] = *of_base;
    }
}

static enum unstir_status derive_packs(struct network *net,
                                       struct derivation *d,
                                       struct unstir_error *err)
{
    for (size_t i = 0; i < net->n_params; i++)
        d->touched[i] = is_touched(d, graph_param_at(d->g, (param_id)i)->name);
    packs_derive_wants(d->wanted, d->base->packs, d->g, d->touched);
    TRY(derive_params(net, d, err));
    derive_stored(net, d);
    TRY(packs_derive(&net->packs, d->base->packs, d->g, d->touched, d->params,
                     d->stored, &net->table, err));
    net->info.weight_bytes = packs_bytes(net->packs);
    drop_params(net, d->g);
    return UNSTIR_OK;
}

static enum unstir_status derive_all(struct network *net, struct derivation *d,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    void *params, *touched, *wanted;

    net->n_params = graph_n_params(d->g);
    TRY(alloc_zero(&net->own_params, net->n_params, sizeof(float *), err));
    TRY(alloc_zero(&params, net->n_params, sizeof(float *), err));
    touched = wanted = NULL;
    status = alloc_zero(&touched, net->n_params, sizeof(bool), err);
    if (status == UNSTIR_OK)
        status = alloc_zero(&wanted, net->n_params, sizeof(bool), err);
    if (status == UNSTIR_OK)
        status = stored_new(&d->stored, d->g, err);
    d->params = params;
    d->touched = touched;
    d->wanted = wanted;
    if (status == UNSTIR_OK)
        status = derive_packs(net, d, err);
    alloc_free(d->stored);
    alloc_free(wanted);
    alloc_free(touched);
    alloc_free(params);
    return status;
}

static enum unstir_status derive(struct network *net, struct derivation *d,
                                 struct unstir_error *err)
{
    struct model_size size = {.n = 1, .context_len = 1};
    enum unstir_status status;
    struct graph *g;

    net->info.fingerprint = net->fingerprint;
    net->info.pack_source = PACK_BUILT;
    net->info.notes = &net->notes;
    net->notes = (struct notes){.n = 0};
    net->own_params = NULL;
    net->packs = NULL;
    net->pack_writer = NULL;
    net->config = NULL;
    TRY(copy_config(net, d->base->config, err));
    size.h = size.w = network_smallest_edge(&net->facts);
    TRY(build_graph(&g, net->family, net->config, &size, err));
    d->g = g;
    status = derive_all(net, d, err);
    graph_free(g);
    describe(net);
    return status;
}

enum unstir_status network_derive(struct network **out,
                                  const struct network *base,
                                  const struct weights *base_weights,
                                  struct weights *weights,
                                  struct unstir_error *err)
{
    struct derivation d = {
        .base = base, .base_weights = base_weights, .weights = weights};
    enum unstir_status status;
    struct network *net;

    *out = NULL;
    TRY(network_check_loaded(base, err));
    TRY(alloc_zero(&net, 1, sizeof *net, err));
    *net = *base;
    status = derive(net, &d, err);
    if (status != UNSTIR_OK) {
        network_free(net);
        return status;
    }
    *out = net;
    return UNSTIR_OK;
}

/* What is touched will lie in floats; whether the rest stays in its file does
 * not matter, so that it may count as floats, too. */
static enum unstir_status
measure_derived(size_t *bytes, size_t *peak_bytes, const struct network *base,
                const struct graph *g, network_touched_fn is_touched_param,
                const void *arg, struct unstir_error *err)
{
    static const float any;
    struct packs_stored *stored;
    enum unstir_status status;
    bool *touched;

    TRY(alloc_zero(&touched, graph_n_params(g), sizeof *touched, err));
    status = stored_new(&stored, g, err);
    for (size_t i = 0; status == UNSTIR_OK && i < graph_n_params(g); i++) {
        stored[i] = (struct packs_stored){&any, DTYPE_F32};
        touched[i] =
            is_touched_param(arg, graph_param_at(g, (param_id)i)->name);
    }
    if (status == UNSTIR_OK)
        status = packs_measure(bytes, peak_bytes, g, &base->table, LOWER_FUSED,
                               touched,
                               &(struct packs_params){.stored = stored}, err);
    alloc_free(stored);
    alloc_free(touched);
    return status;
}

enum unstir_status network_derive_bytes(size_t *bytes, size_t *peak_bytes,
                                        const struct network *base,
                                        network_touched_fn is_touched_param,
                                        const void *arg,
                                        struct unstir_error *err)
{
    struct model_size size = {.n = 1, .context_len = 1};
    enum unstir_status status;
    struct graph *g;

    *bytes = *peak_bytes = 0;
    size.h = size.w = network_smallest_edge(&base->facts);
    TRY(build_graph(&g, base->family, base->config, &size, err));
    status =
        measure_derived(bytes, peak_bytes, base, g, is_touched_param, arg, err);
    graph_free(g);
    return status;
}

void network_unload(struct network *net)
{
    for (size_t i = 0; net->own_params && i < net->n_params; i++)
        alloc_free(net->own_params[i]);
    alloc_free(net->own_params);
    net->own_params = NULL;
    pack_writer_finish(net->pack_writer);
    net->pack_writer = NULL;
    packs_free(net->packs);
    net->packs = NULL;
}

void network_free(struct network *net)
{
    if (!net)
        return;
    network_unload(net);
    notes_fini(&net->notes);
    json_free(net->config);
    alloc_free(net);
}

const struct network_info *network_info(const struct network *net)
{
    return &net->info;
}
