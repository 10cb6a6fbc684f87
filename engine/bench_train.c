/* bench_train.c - how fast one training step of a model's network is.
 *
 * Objective v on noise for pictures: what is computed does not depend on the
 * numbers.  Drawing, forward, backward, AdamW, running mean and repacking are
 * all in the step that is timed; reading pictures is not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "unstir_bench.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/rng.h"
#include "format/diffusers_folder.h"
#include "format/json.h"
#include "model/network.h"
#include "ops/graph.h"
#include "train/learner.h"

#define DEFAULT_BATCH  128u
#define DEFAULT_REPEAT 3u
#define MICRO          16u
#define MAX_REPEAT     1000u

struct train_bench {
    const struct unstir_bench_options *o;
    struct learner learner;
    struct learner_batch batch;
    float *floats; /* all of the batch                                       */
    double *ms;    /* [repeat] */
    double cpu_ms; /* of all threads, the least of a step                    */
    uint32_t n, micro, h, w, repeat, warmup;
};

static double clock_ms(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t); /* cannot fail on Linux */
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sizes from the options, else from the configuration. */
static enum unstir_status choose_sizes(struct train_bench *b,
                                       const struct json *config,
                                       struct unstir_error *err)
{
    const struct unstir_bench_options *o = b->o;
    const struct json *size = json_get(config, "sample_size");
    bool is_pair = json_len(size) == 2;
    int64_t h = is_pair ? json_int(json_at(size, 0)) : json_int(size);
    int64_t w = is_pair ? json_int(json_at(size, 1)) : json_int(size);
    b->h = o->height ? o->height : (uint32_t)(h > 0 && h < 4096 ? h : 0);
    b->w = o->width ? o->width : (uint32_t)(w > 0 && w < 4096 ? w : 0);
    if (b->h == 0 || b->w == 0)
        return error_field(err, "width",
                           "%s names no sample_size: width and height are "
                           "needed",
                           o->model);
    b->n = o->batch ? o->batch : DEFAULT_BATCH;
    b->micro = b->n < MICRO ? b->n : MICRO;
    while (b->n % b->micro)
        b->micro--;
    b->repeat = o->repeat ? o->repeat : DEFAULT_REPEAT;
    b->warmup = o->warmup;
    if (b->repeat > MAX_REPEAT)
        return error_field(err, "repeat", "%u: at most %u", b->repeat,
                           MAX_REPEAT);
    return UNSTIR_OK;
}

static enum unstir_status draw_weights(struct train_bench *b,
                                       struct unstir_error *err)
{
    TRY(params_draw(&b->learner.params, b->learner.graph, 0, err));
    params_start_mean(&b->learner.params);
    learner_repack(&b->learner);
    return UNSTIR_OK;
}

/* One block of memory for everything a step reads and writes. */
static enum unstir_status draw_batch(struct train_bench *b,
                                     struct unstir_error *err)
{
    const struct graph *g = b->learner.graph;
    size_t in = (size_t)graph_shape(g, graph_input_at(g, 0)).c * b->h * b->w;
    size_t out = (size_t)graph_shape(g, graph_output_at(g, 0)).c * b->h * b->w;
    struct rng rng;
    TRY(alloc_aligned(&b->floats, b->n, (in + out + 4) * sizeof(float), err));
    float *sample = b->floats, *target = sample + b->n * in;
    float *timestep = target + b->n * out, *label = timestep + b->n;
    float *weight = label + b->n, *loss = weight + b->n;
    rng_seed(&rng, 0);
    rng_normal_f32(&rng, sample, b->n * (in + out));
    for (uint32_t i = 0; i < b->n; i++) {
        timestep[i] = (float)(1000u * i / b->n);
        weight[i] = 1;
    }
    b->batch = (struct learner_batch){
        sample, timestep, graph_n_inputs(g) > 2 ? label : NULL,
        target, weight,   loss};
    return UNSTIR_OK;
}

static enum unstir_status run_steps(struct train_bench *b,
                                    struct unstir_error *err)
{
    for (uint32_t i = 0; i < b->warmup + b->repeat; i++) {
        struct learner_update u = {.lr = 1e-4,
                                   .weight_decay = 0.01,
                                   .beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .clip = 1,
                                   .ema = 0.999,
                                   .step = i};
        double start = clock_ms(CLOCK_MONOTONIC), loss, norm;
        double cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID);
        TRY(learner_gradients(&b->learner, &b->batch, &loss, err));
        TRY(learner_step(&b->learner, &u, &norm, err));
        if (i < b->warmup)
            continue;
        cpu = clock_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
        b->ms[i - b->warmup] = clock_ms(CLOCK_MONOTONIC) - start;
        b->cpu_ms = i == b->warmup || cpu < b->cpu_ms ? cpu : b->cpu_ms;
    }
    qsort(b->ms, b->repeat, sizeof *b->ms, by_value);
    return UNSTIR_OK;
}

static enum unstir_status write_result(const struct train_bench *b, char **json,
                                       struct unstir_error *err)
{
    const struct learner *l = &b->learner;
    uint64_t n_parameters = 0;
    struct json_writer *w;
    for (param_id p = 0; p < graph_n_params(l->graph); p++)
        n_parameters += graph_param_at(l->graph, p)->n;
    /* Backward is twice forward: products for inputs and for weights. */
    double gflop = 3e-9 * graph_flops(l->graph) / b->micro * b->n;
    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", "train");
    json_put_string(w, "model", b->o->model);
    json_put_string(w, "precision", l->table.gemm.is_bf16 ? "bf16" : "f32");
    json_put_string(w, "isa", l->table.isa);
    json_put_int(w, "threads", pool_threads(l->pool));
    json_put_int(w, "width", b->w);
    json_put_int(w, "height", b->h);
    json_put_int(w, "batch", b->n);
    json_put_u64(w, "parameters", n_parameters);
    json_put_real(w, "gflop", gflop);
    json_put_real(w, "ms_min", b->ms[0]);
    json_put_real(w, "ms_median", b->ms[b->repeat / 2]);
    json_put_real(w, "ms_max", b->ms[b->repeat - 1]);
    json_put_real(w, "cpu_ms_min", b->cpu_ms);
    json_put_real(w, "images_per_s", 1e3 * b->n / b->ms[0]);
    json_put_real(w, "gflops", 1e3 * gflop / b->ms[0]);
    json_close(w);
    return json_finish(json, w, false, err);
}

static enum unstir_status bench(struct train_bench *b,
                                const struct json *config, char **json,
                                struct unstir_error *err)
{
    TRY(choose_sizes(b, config, err));
    struct learner_spec spec = {.config = config,
                                .batch = b->n,
                                .micro = b->micro,
                                .h = b->h,
                                .w = b->w,
                                .isa = b->o->isa,
                                .precision = b->o->precision,
                                .n_threads = b->o->n_threads};
    TRY(learner_init(&b->learner, &spec, err));
    TRY(draw_weights(b, err));
    TRY(draw_batch(b, err));
    TRY(alloc_zero(&b->ms, b->repeat, sizeof *b->ms, err));
    TRY(run_steps(b, err));
    return write_result(b, json, err);
}

enum unstir_status
unstir_bench_train(const struct unstir_bench_options *options, char **json,
                   struct unstir_error *err)
{
    struct train_bench b = {.o = options};
    struct diffusers_folder f;
    *json = NULL;
    if (!options->model)
        return error_field(err, "model", "a model folder is needed");
    TRY(diffusers_folder_open(&f, options->model, true, err));
    enum unstir_status status = bench(&b, f.unet_config, json, err);
    learner_fini(&b.learner);
    alloc_free(b.floats);
    alloc_free(b.ms);
    diffusers_folder_close(&f);
    return status;
}
