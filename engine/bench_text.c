/* bench_text.c - how long the text encoders of a model take.
 *
 * One run encodes `batch` pieces of a text by each encoder, as the first step
 * of a picture does: two with guidance.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/alloc.h"
#include "bench_timing.h"
#include "format/json.h"
#include "model/clip_text.h"
#include "model/network.h"
#include "pipeline/checkpoint.h"
#include "unstir_bench.h"

#define MAX_BATCH 1024

struct text_bench {
    const struct unstir_bench_options *o;
    struct checkpoint_source source;
    struct clip_text *encoders[CONDITIONING_ENCODERS];
    unsigned n;
    struct executor *executor;
    uint32_t batch;
    uint32_t *ids[CONDITIONING_ENCODERS];
    float *out[CONDITIONING_ENCODERS]; /* hidden, then pooled */
    struct bench_timing timing;
    double load_ms;
};

static enum unstir_status add_encoder(struct text_bench *b,
                                      const struct conditioner_text *text,
                                      struct unstir_error *err)
{
    const struct network_options options = {
        .isa = b->o->isa, .precision = b->o->precision, .mode = LOWER_FUSED};
    unsigned at = b->n;

    TRY(clip_text_open(&b->encoders[at], text->config, text->weights, &options,
                       err));
    b->n++;
    const struct clip_text_info *info = clip_text_info(b->encoders[at]);
    size_t n = (size_t)b->batch * info->length;
    uint32_t pooled = info->projection ? info->projection : info->channels;

    TRY(alloc_zero(&b->ids[at], n, sizeof(uint32_t), err));
    for (size_t i = 0; i < n; i++)
        b->ids[at][i] = (uint32_t)(i % info->length * 7 % info->n_tokens);
    TRY(alloc_aligned(&b->out[at],
                      n * info->channels + (size_t)b->batch * pooled,
                      sizeof(float), err));
    return UNSTIR_OK;
}

static enum unstir_status open_bench(struct text_bench *b,
                                     struct unstir_error *err)
{
    const struct checkpoint_source_options options = {.merges_path =
                                                          b->o->merges_path};
    double start = bench_now_ms();

    if (!b->o->model)
        return error_field(err, "model", "a model is needed");
    b->batch = b->o->batch ? b->o->batch : 1;
    if (b->batch > MAX_BATCH)
        return error_field(err, "batch", "%u; at most %d", b->batch, MAX_BATCH);
    TRY(bench_timing_init(&b->timing, b->o, err));
    TRY(checkpoint_source_open(&b->source, b->o->model, &options, err));
    struct checkpoint_parts parts = checkpoint_source_parts(&b->source);
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        if (parts.texts[i].config)
            TRY(add_encoder(b, &parts.texts[i], err));
    if (b->n == 0)
        return error_field(err, "model", "it reads no texts");
    TRY(checkpoint_source_settle(&b->source, err)); /* nothing runs beside */
    b->load_ms = bench_now_ms() - start;
    return executor_new_placed(&b->executor, b->o->n_threads, 0, b->o->pin, 0,
                               err);
}

static void close_bench(struct text_bench *b)
{
    bench_timing_fini(&b->timing);
    for (unsigned i = 0; i < CONDITIONING_ENCODERS; i++) {
        alloc_free(b->ids[i]);
        alloc_free(b->out[i]);
        clip_text_free(b->encoders[i]);
    }
    executor_free(b->executor);
    checkpoint_source_close(&b->source);
}

static enum unstir_status encode(void *arg, struct unstir_error *err)
{
    const struct text_bench *b = arg;

    for (unsigned i = 0; i < b->n; i++) {
        const struct clip_text_info *info = clip_text_info(b->encoders[i]);
        const struct clip_text_io io = {
            .n = b->batch,
            .ids = b->ids[i],
            .is_normed = true,
            .hidden = b->out[i],
            .pooled =
                b->out[i] + (size_t)b->batch * info->length * info->channels,
        };

        TRY(clip_text_encode(b->encoders[i], executor_pool(b->executor), &io,
                             NULL, err));
    }
    return UNSTIR_OK;
}

static enum unstir_status report(const struct text_bench *b, char **json,
                                 struct unstir_error *err)
{
    const struct clip_text_info *info = clip_text_info(b->encoders[0]);
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "what", "text");
    json_put_string(w, "model", b->o->model);
    json_put_string(w, "precision", info->precision);
    json_put_string(w, "isa", info->isa);
    json_put_int(w, "threads", executor_threads(b->executor));
    json_put_int(w, "batch", b->batch);
    json_put_int(w, "encoders", b->n);
    json_put_real(w, "load_ms", b->load_ms);
    bench_timing_put(w, &b->timing);
    bench_put_peak_rss(w);
    json_close(w);
    return json_finish(json, w, false, err);
}

enum unstir_status unstir_bench_text(const struct unstir_bench_options *options,
                                     char **json, struct unstir_error *err)
{
    struct text_bench b = {.o = options};
    enum unstir_status status;

    *json = NULL;
    status = open_bench(&b, err);
    if (status == UNSTIR_OK)
        status = bench_timing_run(&b.timing, encode, &b, err);
    if (status == UNSTIR_OK)
        status = report(&b, json, err);
    close_bench(&b);
    return status;
}
