/* conditioning.c - what a request's text becomes.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/conditioning.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/size.h"
#include "model/clip_text.h"
#include "model/network.h"
#include "pipeline/micro.h"
#include "text/bpe.h"

#define MIN_LENGTH 3 /* of a piece: BOS, a token, EOS                        */

/* -- the text side of a model ---------------------------------------------- */

static enum unstir_status open_encoder(struct conditioner *c,
                                       const struct conditioner_text *text,
                                       const struct network_options *options,
                                       struct unstir_error *err)
{
    const struct clip_text_info *info;
    struct clip_text **encoder = &c->encoders[c->n];
    struct network_options o = *options;

    o.names = text->names;
    o.max_tokens = bpe_info(text->tokenizer)->max_length;
    TRY(clip_text_open(encoder, text->config, text->weights, &o, err));
    c->tokenizers[c->n++] = text->tokenizer;
    info = clip_text_info(*encoder);
    if (info->length < MIN_LENGTH || (c->length && c->length != info->length))
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "a text encoder reads %u tokens at once, another %u",
                         info->length, c->length);
    c->length = info->length;
    c->width += info->channels;
    c->n_parameters += info->n_parameters;
    c->weight_bytes += info->weight_bytes;
    return UNSTIR_OK;
}

static enum unstir_status check_widths(const struct conditioner *c,
                                       const struct network_info *net,
                                       struct unstir_error *err)
{
    const struct clip_text_info *last = clip_text_info(c->encoders[c->n - 1]);
    uint32_t pooled = last->projection ? last->projection : last->channels;

    if (c->width != net->context_width)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the text encoders write tokens of %u numbers, the "
                         "network reads %u",
                         c->width, net->context_width);
    if (net->pooled_width && net->pooled_width != pooled)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "the text encoder's summary has %u numbers, the "
                         "network reads %u",
                         pooled, net->pooled_width);
    if (net->n_time_ids > CONDITIONING_MAX_TIME_IDS)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "the network reads %u numbers beside the text; "
                         "supported: 5 and 6",
                         net->n_time_ids);
    return UNSTIR_OK;
}

/* One past the layers is what they start from. */
static void find_max_skip(struct conditioner *c)
{
    c->max_skip = UINT32_MAX;
    for (unsigned i = 0; i < c->n; i++) {
        uint32_t layers = clip_text_info(c->encoders[i])->n_layers;

        if (layers < c->max_skip)
            c->max_skip = layers;
    }
    if (!c->is_xl) /* SDXL skips one by itself */
        c->max_skip++;
}

enum unstir_status conditioner_open(struct conditioner *c,
                                    const struct conditioner_text *texts,
                                    const struct network_info *net,
                                    const struct network_options *options,
                                    struct unstir_error *err)
{
    *c = (struct conditioner){
        .is_xl = net->pooled_width > 0,
        .pooled_width = net->pooled_width,
        .n_time_ids = net->n_time_ids,
        .guidance_width = net->guidance_width,
    };
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        if (texts[i].config)
            TRY(open_encoder(c, &texts[i], options, err));
    find_max_skip(c);
    return check_widths(c, net, err);
}

void conditioner_fini(struct conditioner *c)
{
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        clip_text_free(c->encoders[i]);
    *c = (struct conditioner){.n = 0};
}

void conditioner_unload(struct conditioner *c)
{
    for (unsigned i = 0; i < c->n; i++)
        clip_text_unload(c->encoders[i]);
}

/* -- tokens ---------------------------------------------------------------- */

static enum unstir_status tokenize(const struct conditioner *c,
                                   struct prompt_chunks *chunks,
                                   const char *text, enum prompt_syntax syntax,
                                   struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    struct prompt p;

    TRY(prompt_parse(&p, text, syntax, err));
    for (unsigned i = 0; i < c->n && status == UNSTIR_OK; i++)
        status = prompt_tokenize(&chunks[i], &p, c->tokenizers[i],
                                 c->inversions, c->length, err);
    prompt_fini(&p);
    return status;
}

static void free_chunks(struct prompt_chunks chunks[CONDITIONING_ENCODERS])
{
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++)
        prompt_chunks_fini(&chunks[i]);
}

enum unstir_status conditioner_check(const struct conditioner *c,
                                     const char *text,
                                     enum prompt_syntax syntax,
                                     struct unstir_error *err)
{
    struct prompt_chunks chunks[CONDITIONING_ENCODERS] = {{.ids = NULL}};
    enum unstir_status status = tokenize(c, chunks, text, syntax, err);

    free_chunks(chunks);
    return status;
}

static enum unstir_status pad(struct conditioning *k, struct unstir_error *err)
{
    const struct conditioner *c = k->conditioner;

    for (size_t side = 0; side < CONDITIONING_SIDES; side++)
        for (unsigned i = 0; i < c->n; i++)
            if (k->chunks[side][i].n_chunks > k->n_chunks)
                k->n_chunks = (uint32_t)k->chunks[side][i].n_chunks;
    for (size_t side = 0; side < CONDITIONING_SIDES; side++)
        for (unsigned i = 0; i < c->n; i++)
            if (k->chunks[side][i].n_chunks)
                TRY(prompt_chunks_pad(&k->chunks[side][i], k->n_chunks,
                                      c->tokenizers[i], err));
    k->n_tokens = k->n_chunks * c->length;
    return UNSTIR_OK;
}

enum unstir_status conditioning_begin(struct conditioning *k,
                                      const struct conditioner *c,
                                      const struct unstir_request *r,
                                      struct unstir_error *err)
{
    enum prompt_syntax syntax = PROMPT_WEIGHTED;
    const char *away = r->negative_prompt;

    *k = (struct conditioning){.conditioner = c};
    if (r->prompt_syntax)
        (void)prompt_syntax_find(&syntax, r->prompt_syntax); /* resolved */
    k->skip = r->clip_skip - 1 + c->is_xl;
    k->guidance = r->guidance;
    k->is_guided = !c->guidance_width && r->guidance > 1;
    for (size_t side = 0; side < CONDITIONING_SIDES; side++)
        micro_ids(r, c->n_time_ids, side == CONDITIONING_TOWARD,
                  k->time_ids[side]);
    TRY(tokenize(c, k->chunks[CONDITIONING_TOWARD], r->prompt ? r->prompt : "",
                 syntax, err));
    if (k->is_guided && (away || !c->is_empty_zero))
        TRY(tokenize(c, k->chunks[CONDITIONING_AWAY], away ? away : "", syntax,
                     err));
    return pad(k, err);
}

void conditioning_fini(struct conditioning *k)
{
    for (size_t side = 0; side < CONDITIONING_SIDES; side++)
        free_chunks(k->chunks[side]);
    alloc_free(k->memory);
    *k = (struct conditioning){.conditioner = NULL};
}

/* -- encoding -------------------------------------------------------------- */

/* One encoder at work: the pieces of all sides in one batch. */
struct work {
    struct conditioning *k;
    unsigned encoder;
    uint32_t n; /* pieces                                                    */
    void *memory;
    uint32_t *ids;
    float *weights, *hidden, *pooled;
    bool is_weighted;
    size_t channel; /* of the context, where this encoder's begin            */
};

static bool has_side(const struct conditioning *k, size_t side)
{
    return k->chunks[side][0].n_chunks > 0;
}

static enum unstir_status take_work(struct work *w, struct unstir_error *err)
{
    const struct conditioner *c = w->k->conditioner;
    size_t tokens, per_token, total;

    for (size_t side = 0; side < CONDITIONING_SIDES; side++)
        if (has_side(w->k, side))
            w->n += w->k->n_chunks;
    tokens = (size_t)w->n * c->length;
    per_token = 2 + clip_text_info(c->encoders[w->encoder])->channels;
    if (!size_mul(tokens, per_token, &total) ||
        !size_add(total, (size_t)w->n * c->pooled_width, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the prompt is too long");
    TRY(alloc_aligned(&w->memory, total, sizeof(float), err));
    w->ids = w->memory;
    w->weights = (float *)w->memory + tokens;
    w->hidden = w->weights + tokens;
    w->pooled = w->hidden + tokens * (per_token - 2);
    return UNSTIR_OK;
}

static void gather(struct work *w)
{
    const struct conditioning *k = w->k;
    size_t n = k->n_tokens, at = 0;

    for (size_t side = 0; side < CONDITIONING_SIDES; side++) {
        const struct prompt_chunks *chunks = &k->chunks[side][w->encoder];

        if (!has_side(k, side))
            continue;
        memcpy(w->ids + at, chunks->ids, n * sizeof *w->ids);
        memcpy(w->weights + at, chunks->weights, n * sizeof *w->weights);
        w->is_weighted |= chunks->is_weighted;
        at += n;
    }
}

/* Into the channels of the context that are this encoder's. */
static void spread(const struct work *w)
{
    const struct conditioning *k = w->k;
    const struct conditioner *c = k->conditioner;
    size_t n = clip_text_info(c->encoders[w->encoder])->channels, piece = 0;

    for (size_t side = 0; side < CONDITIONING_SIDES; side++) {
        const float *hidden = w->hidden + piece * c->length * n;

        if (!has_side(k, side))
            continue;
        for (size_t i = 0; i < k->n_tokens; i++)
            memcpy(k->context[side] + i * c->width + w->channel, hidden + i * n,
                   n * sizeof *hidden);
        if (c->pooled_width && w->encoder + 1 == c->n)
            memcpy(k->pooled[side], w->pooled + piece * c->pooled_width,
                   c->pooled_width * sizeof *hidden);
        piece += k->n_chunks;
    }
}

static enum unstir_status run(struct work *w, struct pool *pool,
                              const struct cancel *cancel,
                              struct unstir_error *err)
{
    const struct conditioner *c = w->k->conditioner;
    bool is_pooled = c->pooled_width && w->encoder + 1 == c->n;

    TRY(take_work(w, err));
    gather(w);
    struct clip_text_io io = {
        .n = w->n,
        .ids = w->ids,
        .weights = w->is_weighted ? w->weights : NULL,
        .inversions = c->inversions,
        .inversion_base =
            w->k->chunks[CONDITIONING_TOWARD][w->encoder].inversion_base,
        .encoder = w->encoder,
        .skip = w->k->skip,
        .is_normed = !c->is_xl,
        .hidden = w->hidden,
        .pooled = is_pooled ? w->pooled : NULL,
    };
    TRY(clip_text_encode(c->encoders[w->encoder], pool, &io, cancel, err));
    spread(w);
    return UNSTIR_OK;
}

/* Zeros stay where there is no text. */
static enum unstir_status take_contexts(struct conditioning *k,
                                        struct unstir_error *err)
{
    const struct conditioner *c = k->conditioner;
    size_t context, total;
    float *p;

    if (!size_mul(k->n_tokens, c->width, &context) ||
        !size_add(context, c->pooled_width, &total) ||
        !size_mul(total, CONDITIONING_SIDES, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the prompt is too long");
    TRY(alloc_aligned(&p, total, sizeof(float), err));
    k->memory = p;
    for (size_t side = 0; side < CONDITIONING_SIDES; side++) {
        k->context[side] = p;
        k->pooled[side] = p + context;
        p += context + c->pooled_width;
    }
    return UNSTIR_OK;
}

enum unstir_status conditioning_encode(struct conditioning *k,
                                       struct pool *pool,
                                       const struct cancel *cancel,
                                       struct unstir_error *err)
{
    enum unstir_status status = UNSTIR_OK;
    size_t channel = 0;

    if (!k->conditioner || k->memory)
        return UNSTIR_OK;
    TRY(take_contexts(k, err));
    pool_hold(pool);
    for (unsigned i = 0; i < k->conditioner->n && status == UNSTIR_OK; i++) {
        struct work w = {.k = k, .encoder = i, .channel = channel};

        status = run(&w, pool, cancel, err);
        alloc_free(w.memory);
        channel += clip_text_info(k->conditioner->encoders[i])->channels;
    }
    pool_release(pool);
    if (status != UNSTIR_OK) {
        alloc_free(k->memory);
        k->memory = NULL;
    }
    return status;
}

/* -- batches --------------------------------------------------------------- */

enum unstir_status conditioning_batch_reserve(struct conditioning_batch *b,
                                              const struct conditioning *k,
                                              size_t n,
                                              struct unstir_error *err)
{
    const struct conditioner *c = k->conditioner;
    size_t context, total;

    if (!size_mul(k->n_tokens, c->width, &context) ||
        !size_add(context,
                  (size_t)c->pooled_width + c->n_time_ids + c->guidance_width,
                  &total) ||
        !size_mul(total, n, &total))
        return error_set(err, UNSTIR_ERR_LIMIT, "the prompt is too long");
    if (total > b->n_floats) {
        conditioning_batch_fini(b);
        TRY(alloc_aligned(&b->memory, total, sizeof(float), err));
        b->n_floats = total;
    }
    b->context = b->memory;
    b->pooled = b->context + n * context;
    b->time_ids = b->pooled + n * c->pooled_width;
    b->guidance = b->time_ids + n * c->n_time_ids;
    return UNSTIR_OK;
}

void conditioning_batch_fini(struct conditioning_batch *b)
{
    alloc_free(b->memory);
    *b = (struct conditioning_batch){.memory = NULL};
}

/* Sinusoids of the guidance scale, in the precision of the reference. */
static void embed_guidance(float *out, double guidance, uint32_t width)
{
    uint32_t half = width / 2;
    float w = (float)(guidance - 1) * 1000.0F;
    float step = half > 1 ? logf(10000.0F) / (float)(half - 1) : 0;

    for (uint32_t i = 0; i < half; i++) {
        float angle = w * expf((float)i * -step);

        out[i] = sinf(angle);
        out[half + i] = cosf(angle);
    }
    if (width % 2)
        out[width - 1] = 0;
}

void conditioning_batch_put(struct conditioning_batch *b, size_t at,
                            const struct conditioning *k,
                            enum conditioning_side side)
{
    const struct conditioner *c = k->conditioner;
    size_t n = (size_t)k->n_tokens * c->width;

    memcpy(b->context + at * n, k->context[side], n * sizeof *b->context);
    if (c->pooled_width) {
        memcpy(b->pooled + at * c->pooled_width, k->pooled[side],
               c->pooled_width * sizeof *b->pooled);
        memcpy(b->time_ids + at * c->n_time_ids, k->time_ids[side],
               c->n_time_ids * sizeof *b->time_ids);
    }
    if (c->guidance_width)
        embed_guidance(b->guidance + at * c->guidance_width, k->guidance,
                       c->guidance_width);
}

void conditioning_batch_give(const struct conditioning_batch *b,
                             const struct conditioning *k,
                             struct network_io *io)
{
    const struct conditioner *c = k->conditioner;

    io->context = b->context;
    io->context_len = k->n_tokens;
    io->text_embeds = c->pooled_width ? b->pooled : NULL;
    io->time_ids = c->pooled_width ? b->time_ids : NULL;
    io->timestep_cond = c->guidance_width ? b->guidance : NULL;
}
