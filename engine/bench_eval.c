/* bench_eval.c - how long one evaluation of a network takes.
 *
 * Not loading, not a loop of a sampler: the plan runs, nothing else.  The
 * least of several runs is the figure, since on a shared machine everything
 * else only adds; median and largest tell how calm the machine was.
 *
 * A folder with a configuration but no weights is run with drawn ones: time
 * does not depend on values.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "bench_peak.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "model/model.h"
#include "model/network.h"
#include "ops/graph.h"
#include "unstir_bench.h"

#define DEFAULT_REPEAT 10
#define MAX_REPEAT     10000
#define DEFAULT_WARMUP 2
#define DEFAULT_EDGE   32

struct eval_bench {
    struct diffusers_folder folder;
    struct network *net;
    struct executor *executor;
    struct network_io io;
    float *memory; /* of all of io */
    double *ms;
    uint32_t repeat;
    double gflop, load_ms;
};

static double now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* cannot fail on Linux */
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static uint32_t first_of(uint32_t a, uint32_t b, uint32_t c)
{
    return a ? a : b ? b : c;
}

static enum unstir_status make_io(struct eval_bench *b,
                                  const struct unstir_bench_options *o,
                                  struct unstir_error *err)
{
    const struct network_info *info = network_info(b->net);
    struct network_io *io = &b->io;
    size_t n_pixels, n_in, n_label;
    void *p;

    io->n = o->batch ? o->batch : 1;
    io->h = first_of(o->height, info->sample_h, DEFAULT_EDGE);
    io->w = first_of(o->width, info->sample_w, DEFAULT_EDGE);
    if (io->n > 1024 || io->h > 4096 || io->w > 4096)
        return error_set(err, UNSTIR_ERR_LIMIT,
                         "batch %u of %u x %u; at most 1024 of 4096 x 4096",
                         io->n, io->w, io->h);
    n_pixels = (size_t)io->n * io->h * io->w;
    n_in = n_pixels * info->in_channels;
    n_label = info->has_class_input ? (size_t)io->n * info->label_width : 0;
    TRY(alloc_aligned(&p,
                      n_in + n_pixels * info->out_channels + io->n + n_label,
                      sizeof(float), err));
    b->memory = p;
    for (size_t i = 0; i < n_in; i++)
        b->memory[i] = (float)(i % 251) / 125 - 1;
    io->sample = b->memory;
    io->out = b->memory + n_in;
    io->timestep = io->out + n_pixels * info->out_channels;
    io->label = n_label ? io->timestep + io->n : NULL;
    for (uint32_t i = 0; i < io->n; i++)
        ((float *)io->timestep)[i] = 1;
    return UNSTIR_OK;
}

static enum unstir_status open_bench(struct eval_bench *b,
                                     const struct unstir_bench_options *o,
                                     struct unstir_error *err)
{
    struct network_options options = {
        .isa = o->isa, .precision = o->precision, .mode = LOWER_FUSED};
    double start = now_ms();
    struct graph *g;
    void *p;

    if (!o->model)
        return error_field(err, "model", "a model folder is needed");
    b->repeat = o->repeat ? o->repeat : DEFAULT_REPEAT;
    if (b->repeat > MAX_REPEAT)
        return error_field(err, "repeat", "%u; at most %d", b->repeat,
                           MAX_REPEAT);
    TRY(diffusers_folder_open(&b->folder, o->model, true, err));
    if (b->folder.unet_weights)
        options.cache = (struct pack_cache){.folder = o->pack_cache,
                                            .digest = b->folder.digest,
                                            .part = "unet"};
    TRY(network_open(&b->net, b->folder.unet_config, b->folder.unet_weights, 0,
                     &options, err));
    b->load_ms = now_ms() - start;
    TRY(executor_new_placed(&b->executor, o->n_threads, 0, o->pin, 0, err));
    TRY(make_io(b, o, err));
    TRY(network_graph(&g, b->folder.unet_config, b->io.n, b->io.h, b->io.w,
                      err));
    b->gflop = 1e-9 * graph_flops(g);
    graph_free(g);
    TRY(alloc_zero(&p, b->repeat, sizeof *b->ms, err));
    b->ms = p;
    return UNSTIR_OK;
}

static void close_bench(struct eval_bench *b)
{
    alloc_free(b->ms);
    alloc_free(b->memory);
    executor_free(b->executor);
    network_free(b->net);
    diffusers_folder_close(&b->folder);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static enum unstir_status time_evals(struct eval_bench *b, uint32_t warmup,
                                     struct unstir_error *err)
{
    for (uint32_t i = 0; i < warmup; i++)
        TRY(network_eval(b->net, b->executor, &b->io, NULL, err));
    for (uint32_t i = 0; i < b->repeat; i++) {
        double start = now_ms();

        TRY(network_eval(b->net, b->executor, &b->io, NULL, err));
        b->ms[i] = now_ms() - start;
    }
    qsort(b->ms, b->repeat, sizeof *b->ms, by_value);
    return UNSTIR_OK;
}

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

static enum unstir_status report(const struct eval_bench *b,
                                 const struct unstir_bench_options *o,
                                 char **json, struct unstir_error *err)
{
    const struct network_info *info = network_info(b->net);
    double gflops = b->gflop / (1e-3 * b->ms[0]), peak;
    enum unstir_status status;
    struct json_writer *w;
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage); /* cannot fail for this process */
    peak = bench_peak_gflops(o); /* has memory of its own, so after that */
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", "eval");
    json_put_string(w, "model", o->model);
    json_put_string(w, "precision", info->precision);
    json_put_string(w, "isa", info->isa);
    json_put_int(w, "threads", executor_threads(b->executor));
    json_put_int(w, "width", b->io.w);
    json_put_int(w, "height", b->io.h);
    json_put_int(w, "batch", b->io.n);
    json_put_real(w, "load_ms", b->load_ms);
    json_put_string(w, "packs", pack_source_name(info->pack_source));
    json_put_real(w, "gflop", b->gflop);
    json_put_real(w, "ms_min", b->ms[0]);
    json_put_real(w, "ms_median", b->ms[b->repeat / 2]);
    json_put_real(w, "ms_max", b->ms[b->repeat - 1]);
    json_put_real(w, "gflops", gflops);
    if (peak > 0)
        json_put_real(w, "share_of_peak", gflops / peak);
    else
        json_put_null(w, "share_of_peak");
    json_put_int(w, "peak_rss_bytes", (int64_t)usage.ru_maxrss * 1024);
    status = o->has_layers ? report_layers(b, w, err) : UNSTIR_OK;
    if (status != UNSTIR_OK) {
        json_writer_free(w);
        return status;
    }
    json_close(w);
    return json_finish(json, w, false, err);
}

enum unstir_status unstir_bench_eval(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err)
{
    struct eval_bench b = {.net = NULL};
    enum unstir_status status;

    *json = NULL;
    status = open_bench(&b, options, err);
    if (status == UNSTIR_OK)
        status = time_evals(
            &b, options->warmup ? options->warmup : DEFAULT_WARMUP, err);
    if (status == UNSTIR_OK)
        status = report(&b, options, json, err);
    close_bench(&b);
    return status;
}
