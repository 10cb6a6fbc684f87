/* bench_eval.c - how long one evaluation of a network takes: of the one that
 * denoises, or of the decoder that makes pictures of latents.
 *
 * Not loading, not a loop of a sampler: the plan runs, nothing else.  As in the
 * steps of a picture, what a text or a moment alone decides is computed in the
 * runs before the timed ones.
 *
 * A folder with a configuration but no weights is run with drawn ones: time
 * does not depend on values.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "base/alloc.h"
#include "base/size.h"
#include "bench_peak.h"
#include "bench_timing.h"
#include "format/json.h"
#include "model/model.h"
#include "model/network.h"
#include "model/profile.h"
#include "model/tiled.h"
#include "ops/graph.h"
#include "pipeline/checkpoint.h"
#include "pipeline/latent.h"
#include "unstir_bench.h"

#define DEFAULT_EDGE 32

struct eval_bench {
    const struct unstir_bench_options *o;
    const char *what;
    struct checkpoint_source source;
    const struct json *config; /* of the network that is timed */
    struct network *net;
    struct executor *executor;
    struct network_io io;
    uint32_t factor; /* pixels an edge of a latent's; 1: it is pictures      */
    float *memory;   /* of all of io                                         */
    struct tiling tiling;
    struct bench_timing timing;
    double gflop, load_ms;
    struct profile *profile; /* NULL: not asked for                          */
};

static uint32_t first_of(uint32_t a, uint32_t b, uint32_t c)
{
    return a ? a : b ? b : c;
}

/* -- what goes in ---------------------------------------------------------- */

static enum unstir_status find_size(struct eval_bench *b,
                                    struct unstir_error *err)
{
    const struct unstir_bench_options *o = b->o;
    const struct network_info *info = network_info(b->net);
    struct network_io *io = &b->io;

    io->n = o->batch ? o->batch : 1;
    io->h = first_of(o->height / b->factor, info->sample_h, DEFAULT_EDGE);
    io->w = first_of(o->width / b->factor, info->sample_w, DEFAULT_EDGE);
    if (io->n > 1024 || io->h > 4096 || io->w > 4096)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "batch %u of %u x %u; at most 1024 of 4096 x 4096",
                         io->n, io->w, io->h);
    return UNSTIR_OK;
}

/* The inputs that the network has, and the output, from one block. */
struct io_part {
    const float **place;
    size_t n; /* 0: the network has none                                     */
    float first;
};

static void fill(float *p, size_t n, float first)
{
    for (size_t i = 0; i < n; i++)
        p[i] = first != 0 ? first : (float)(i % 251) / 125 - 1;
}

static enum unstir_status make_io(struct eval_bench *b,
                                  struct unstir_error *err)
{
    const struct network_info *info = network_info(b->net);
    struct network_io *io = &b->io;
    size_t n, pixels, total = 0;
    const float *out;

    TRY(find_size(b, err));
    n = io->n;
    pixels = n * io->h * io->w;
    io->context_len = info->context_width ? NETWORK_CONTEXT_LEN : 0;
    const struct io_part parts[] = {
        {&io->sample, pixels * info->in_channels, 0},
        {&out,
         pixels * info->up / info->down * info->up / info->down *
             info->out_channels,
         0},
        {&io->timestep, info->has_timestep ? n : 0, 1},
        {&io->label, info->has_class_input ? n * info->label_width : 0, 1},
        {&io->context, n * io->context_len * info->context_width, 0},
        {&io->text_embeds, n * info->pooled_width, 0},
        {&io->time_ids, n * info->n_time_ids, 512},
        {&io->timestep_cond, n * info->guidance_width, 0},
    };
    const size_t n_parts = sizeof parts / sizeof *parts;

    for (size_t i = 0; i < n_parts; i++)
        if (!size_add(total, parts[i].n, &total))
            return error_set(err, UNSTIR_ERR_LIMIT, "the batch is too large");
    TRY(alloc_aligned(&b->memory, total, sizeof(float), err));
    for (size_t i = 0, at = 0; i < n_parts; at += parts[i++].n) {
        fill(b->memory + at, parts[i].n, parts[i].first);
        *parts[i].place = parts[i].n ? b->memory + at : NULL;
    }
    io->out = (float *)out;
    return UNSTIR_OK;
}

/* -- the network ----------------------------------------------------------- */

static enum unstir_status find_factor(struct eval_bench *b,
                                      const struct json *vae_config,
                                      struct unstir_error *err)
{
    const struct family *family;
    struct model_facts facts = {0};

    b->factor = 1;
    if (!vae_config)
        return UNSTIR_OK;
    TRY(model_family(&family, vae_config, "decode", err));
    TRY(error_within(family->facts(&facts, vae_config, err), "vae/config.json",
                     err));
    b->factor = facts.up ? facts.up : 1;
    return UNSTIR_OK;
}

static enum unstir_status open_network(struct eval_bench *b,
                                       struct unstir_error *err)
{
    struct checkpoint_parts parts = checkpoint_source_parts(&b->source);
    bool decodes = strcmp(b->what, "decode") == 0;
    const struct weights *weights = decodes ? parts.vae_weights : parts.weights;
    struct network_options options = {
        .isa = b->o->isa,
        .precision = b->o->precision,
        .mode = LOWER_FUSED,
        .part = decodes ? "decode" : NULL,
    };

    b->config = decodes ? parts.vae_config : parts.unet_config;
    if (!b->config)
        return error_field(err, "model", "it has no decoder");
    if (weights)
        options.cache = (struct pack_cache){.folder = b->o->pack_cache,
                                            .digest = parts.digest,
                                            .late = parts.late,
                                            .part = decodes ? "vae" : "unet"};
    TRY(find_factor(b, parts.vae_config, err));
    return network_open(&b->net, b->config, weights, 0, &options, err);
}

static enum unstir_status open_bench(struct eval_bench *b,
                                     struct unstir_error *err)
{
    const struct unstir_bench_options *o = b->o;
    const struct checkpoint_source_options source = {
        .allows_no_weights = true, .merges_path = o->merges_path};
    double start = bench_now_ms();
    struct graph *g;

    if (!o->model)
        return error_field(err, "model", "a model is needed");
    TRY(bench_timing_init(&b->timing, o, err));
    TRY(checkpoint_source_open(&b->source, o->model, &source, err));
    TRY(open_network(b, err));
    TRY(checkpoint_source_settle(&b->source, err)); /* nothing runs beside */
    b->load_ms = bench_now_ms() - start;
    TRY(executor_new_placed(&b->executor, o->n_threads, 0, o->pin, 0, err));
    TRY(make_io(b, err));
    const struct model_size size = {b->io.n, b->io.h, b->io.w,
                                    b->io.context_len};
    TRY(network_graph_of(&g, b->config,
                         strcmp(b->what, "decode") == 0 ? "decode" : NULL,
                         &size, err));
    b->gflop = 1e-9 * graph_flops(g);
    graph_free(g);
    b->tiling = latent_tiling(false);
    return UNSTIR_OK;
}

static void close_bench(struct eval_bench *b)
{
    bench_timing_fini(&b->timing);
    alloc_free(b->memory);
    profile_free(b->profile);
    executor_free(b->executor);
    network_free(b->net);
    checkpoint_source_close(&b->source);
}

static enum unstir_status evaluate(void *arg, struct unstir_error *err)
{
    struct eval_bench *b = arg;

    if (strcmp(b->what, "decode") == 0)
        return tiled_eval(b->net, b->executor, &b->io, &b->tiling, NULL, err);
    return network_eval(b->net, b->executor, &b->io, NULL, err);
}

/* As many runs more, with the clock read between operations. */
static enum unstir_status take_profile(struct eval_bench *b,
                                       struct unstir_error *err)
{
    enum unstir_status status = profile_new(&b->profile, err);

    executor_set_profile(b->executor, b->profile);
    for (uint32_t i = 0; status == UNSTIR_OK && i < b->timing.repeat; i++)
        status = evaluate(b, err);
    executor_set_profile(b->executor, NULL);
    return status;
}

/* -- the answer ------------------------------------------------------------ */

static enum unstir_status report_layers(const struct eval_bench *b,
                                        struct json_writer *w,
                                        struct unstir_error *err)
{
    struct model_size size = {b->io.n, b->io.h, b->io.w, b->io.context_len};

    json_open_array(w, "layers");
    TRY(network_put_layers(w, b->net, &size, err));
    json_close(w);
    return UNSTIR_OK;
}

/* Shares are of one thread's peak, since rows count the time of all. */
static void report_profile(const struct eval_bench *b, struct json_writer *w)
{
    struct unstir_bench_options one = *b->o;
    double peak;

    one.n_threads = 1;
    peak = bench_peak_gflops(&one);
    if (peak > 0)
        json_put_real(w, "gflops_one_thread", peak);
    profile_put(w, b->profile, b->timing.repeat, peak);
}

static enum unstir_status report(const struct eval_bench *b, char **json,
                                 struct unstir_error *err)
{
    const struct network_info *info = network_info(b->net);
    double gflops = b->gflop / (1e-3 * b->timing.ms[0]), peak;
    enum unstir_status status;
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", b->what);
    json_put_string(w, "model", b->o->model);
    json_put_string(w, "precision", info->precision);
    json_put_string(w, "isa", info->isa);
    json_put_int(w, "threads", executor_threads(b->executor));
    json_put_int(w, "width", b->io.w * b->factor);
    json_put_int(w, "height", b->io.h * b->factor);
    json_put_int(w, "batch", b->io.n);
    json_put_real(w, "load_ms", b->load_ms);
    json_put_string(w, "packs", pack_source_name(info->pack_source));
    json_put_real(w, "gflop", b->gflop);
    bench_timing_put(w, &b->timing);
    json_put_real(w, "gflops", gflops);
    bench_put_peak_rss(w);
    peak = bench_peak_gflops(b->o); /* has memory of its own, so after that */
    if (peak > 0)
        json_put_real(w, "share_of_peak", gflops / peak);
    else
        json_put_null(w, "share_of_peak");
    if (b->profile)
        report_profile(b, w);
    status = b->o->has_layers ? report_layers(b, w, err) : UNSTIR_OK;
    if (status != UNSTIR_OK) {
        json_writer_free(w);
        return status;
    }
    json_close(w);
    return json_finish(json, w, false, err);
}

static enum unstir_status bench(const char *what,
                                const struct unstir_bench_options *options,
                                char **json, struct unstir_error *err)
{
    struct eval_bench b = {.o = options, .what = what};
    enum unstir_status status;

    *json = NULL;
    status = open_bench(&b, err);
    if (status == UNSTIR_OK)
        status = bench_timing_run(&b.timing, evaluate, &b, err);
    if (status == UNSTIR_OK && options->has_profile)
        status = take_profile(&b, err);
    if (status == UNSTIR_OK)
        status = report(&b, json, err);
    close_bench(&b);
    return status;
}

enum unstir_status unstir_bench_eval(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err)
{
    return bench("eval", options, json, err);
}

enum unstir_status
unstir_bench_decode(const struct unstir_bench_options *options, char **json,
                    struct unstir_error *err)
{
    return bench("decode", options, json, err);
}
