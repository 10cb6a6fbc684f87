/* derive.c - a model with LoRAs added.
 *
 * A derived model is a copy of its base's struct: what it does not replace it
 * borrows, and only what it made itself is freed.  Networks pack what changed
 * anew and lend the rest from the base (packs_derive()); a text encoder that
 * is touched is packed as a whole.
 *
 * Its digest is one over the base's digest and the LoRAs' digests and weights,
 * so states and pictures of different models are told apart.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/digest.h"
#include "format/lora.h"
#include "format/lora_details.h"
#include "format/weights.h"
#include "format/weights_build.h"
#include "model/clip_text.h"
#include "model/lora_derive.h"
#include "model/network.h"
#include "pipeline/checkpoint_inside.h"
#include "text/bpe.h"

#define NAME_BYTES 256

struct added {
    struct lora file; /* while the model is made                             */
    char name[NAME_BYTES];
    char label[NAME_BYTES + 8]; /* for errors                                */
    char digest[65];
    double unet_weight, text_weight;
};

struct derived {
    struct added loras[UNSTIR_MAX_LORAS]; /* by digest: sums have one order  */
    struct unstir_lora_info infos[UNSTIR_MAX_LORAS];
    size_t n;
    char digest[65];
    unstir_canceled_fn is_canceled; /* while the model is made               */
    void *user;
    struct network *net;                            /* NULL: the base's       */
    struct clip_text *texts[CONDITIONING_ENCODERS]; /* as net                */
    struct weights *text_weights[CONDITIONING_ENCODERS];
};

/* -- LoRAs --------------------------------------------------------------- */

/* Before the last name of a path; those behind it are passed over. */
static const char *last_slash(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    return n > 0 ? path + n - 1 : NULL;
}

/* A path is told as it is, a name as what it names. */
static void set_names(struct added *a, const struct unstir_lora *l)
{
    const char *slash = l->path ? last_slash(l->path) : NULL;
    const char *text = l->name   ? l->name
                       : slash   ? slash + 1
                       : l->path ? l->path
                                 : "";
    char *dot;

    (void)snprintf(a->name, sizeof a->name, "%.255s", text);
    dot = l->name ? NULL : strrchr(a->name, '.');
    if (dot && dot > a->name)
        *dot = '\0';
    if (l->name)
        (void)snprintf(a->label, sizeof a->label, "LoRA %.100s", l->name);
    else
        (void)snprintf(a->label, sizeof a->label, "%.255s", text);
}

static enum unstir_status open_file(struct added *a,
                                    const struct unstir_lora *l,
                                    struct unstir_error *err)
{
    if (!l->path)
        return error_set(err, UNSTIR_ERR_ARG, "%s: no file is given", a->label);
    TRY(lora_open(&a->file, l->path, l->name ? a->label : l->path, l->max_bytes,
                  err));
    TRY(lora_digest(a->digest, &a->file, err));
    if (l->digest && strcmp(l->digest, a->digest) != 0)
        return error_set(err, UNSTIR_ERR_IO,
                         "%s: the file has changed: its SHA-256 is %s, wanted "
                         "%.64s",
                         a->label, a->digest, l->digest);
    return UNSTIR_OK;
}

/* Without its file, for a description. */
static enum unstir_status take_digest(struct added *a,
                                      const struct unstir_lora *l,
                                      struct unstir_error *err)
{
    if (!l->digest || strlen(l->digest) != sizeof a->digest - 1)
        return error_set(err, UNSTIR_ERR_ARG, "%s: no SHA-256 is given",
                         a->label);
    memcpy(a->digest, l->digest, sizeof a->digest);
    return UNSTIR_OK;
}

static enum unstir_status add_lora(struct derived *d,
                                   const struct unstir_lora *l, bool reads,
                                   struct unstir_error *err)
{
    struct added *a;

    if (!(fabs(l->unet_weight) <= UNSTIR_MAX_LORA_WEIGHT) ||
        !(fabs(l->text_weight) <= UNSTIR_MAX_LORA_WEIGHT))
        return error_set(err, UNSTIR_ERR_ARG,
                         "LoRA %.200s: weights are -%d to %d",
                         l->name   ? l->name
                         : l->path ? l->path
                                   : "",
                         UNSTIR_MAX_LORA_WEIGHT, UNSTIR_MAX_LORA_WEIGHT);
    if (l->unet_weight == 0 && l->text_weight == 0)
        return UNSTIR_OK; /* as if it were not given */
    if (d->n == UNSTIR_MAX_LORAS)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %d LoRAs",
                         UNSTIR_MAX_LORAS);
    a = &d->loras[d->n++];
    a->unet_weight = l->unet_weight;
    a->text_weight = l->text_weight;
    set_names(a, l);
    return reads ? open_file(a, l, err) : take_digest(a, l, err);
}

static int order(double a, double b)
{
    return (a > b) - (a < b);
}

static int compare(const void *a, const void *b)
{
    const struct added *x = a, *y = b;
    int by_digest = strcmp(x->digest, y->digest);
    int by_unet = order(x->unet_weight, y->unet_weight);
    int by_text = order(x->text_weight, y->text_weight);

    return by_digest ? by_digest
           : by_unet ? by_unet
           : by_text ? by_text
                     : strcmp(x->name, y->name);
}

/* All of them, in their order whatever order they were given in. */
static enum unstir_status add_all(struct derived *d,
                                  const struct unstir_lora *loras, size_t n,
                                  bool reads, struct unstir_error *err)
{
    for (size_t i = 0; i < n; i++)
        TRY(add_lora(d, &loras[i], reads, err));
    if (d->n > 1)
        qsort(d->loras, d->n, sizeof *d->loras, compare);
    for (size_t i = 0; i < d->n; i++)
        d->infos[i] =
            (struct unstir_lora_info){.name = d->loras[i].name,
                                      .digest = d->loras[i].digest,
                                      .unet_weight = d->loras[i].unet_weight,
                                      .text_weight = d->loras[i].text_weight};
    return UNSTIR_OK;
}

static void close_files(struct derived *d)
{
    for (size_t i = 0; i < d->n; i++)
        lora_close(&d->loras[i].file);
}

static size_t uses_of(struct lora_use uses[UNSTIR_MAX_LORAS],
                      const struct derived *d, enum single_file_part_id part)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++) {
        const struct added *a = &d->loras[i];
        double scale =
            part == SINGLE_FILE_UNET ? a->unet_weight : a->text_weight;

        if (scale != 0)
            uses[n++] = (struct lora_use){&a->file, scale, a->label};
    }
    return n;
}

/* *out: NULL if nothing is touched. */
static enum unstir_status derive_weights(struct weights **out,
                                         const struct derived *d,
                                         const struct weights *base,
                                         enum single_file_part_id part,
                                         struct unstir_error *err)
{
    struct lora_use uses[UNSTIR_MAX_LORAS];
    struct lora_task task = {.part = part,
                             .uses = uses,
                             .n_uses = uses_of(uses, d, part),
                             .is_canceled = d->is_canceled,
                             .user = d->user};
    size_t n_touched;

    *out = NULL;
    if (task.n_uses == 0)
        return UNSTIR_OK;
    TRY(lora_derive(out, base, &task, &n_touched, err));
    if (n_touched > 0)
        return UNSTIR_OK;
    weights_close(*out);
    *out = NULL;
    return UNSTIR_OK;
}

/* Of tensors that are not the base's. */
static size_t own_bytes(const struct weights *w, const struct weights *base)
{
    size_t n = 0;

    for (size_t i = 0; i < weights_len(w); i++) {
        const struct tensor_view *t = weights_at(w, i);

        if (t->data != weights_find(base, t->name)->data)
            n += t->n_bytes;
    }
    return n;
}

/* -- parts --------------------------------------------------------------- */

static enum unstir_status derive_net(struct unstir_model *m,
                                     const struct checkpoint_parts *parts,
                                     struct unstir_error *err)
{
    struct derived *d = m->derived;
    enum unstir_status status;
    struct weights *w;

    TRY(derive_weights(&w, d, parts->weights, SINGLE_FILE_UNET, err));
    if (!w)
        return UNSTIR_OK;
    status = network_derive(&d->net, m->net, parts->weights, w, err);
    weights_close(w);
    if (status != UNSTIR_OK)
        return status;
    m->net = d->net;
    m->info.weight_bytes += network_info(d->net)->weight_bytes;
    return UNSTIR_OK;
}

static enum unstir_status derive_text(struct unstir_model *m, size_t i,
                                      unsigned encoder,
                                      const struct checkpoint_parts *parts,
                                      struct unstir_error *err)
{
    struct derived *d = m->derived;
    struct network_options options = {
        .isa = m->info.isa, .precision = m->precision, .mode = LOWER_FUSED};

    TRY(derive_weights(&d->text_weights[i], d, parts->texts[i].weights,
                       (enum single_file_part_id)(SINGLE_FILE_TEXT + i), err));
    if (!d->text_weights[i])
        return UNSTIR_OK;
    options.max_tokens = bpe_info(parts->texts[i].tokenizer)->max_length;
    TRY(clip_text_open(&d->texts[i], parts->texts[i].config, d->text_weights[i],
                       &options, err));
    m->conditioner.encoders[encoder] = d->texts[i];
    m->info.weight_bytes +=
        clip_text_info(d->texts[i])->weight_bytes +
        own_bytes(d->text_weights[i], parts->texts[i].weights);
    return UNSTIR_OK;
}

static enum unstir_status touch_nothing(const struct derived *d,
                                        struct unstir_error *err)
{
    return error_set(err, UNSTIR_ERR_ARG,
                     "%s%s: no layer of this model is touched: it was made "
                     "for %s",
                     d->loras[0].label, d->n > 1 ? " and others" : "",
                     lora_family_title(lora_family(&d->loras[0].file)));
}

static enum unstir_status derive_all(struct unstir_model *m,
                                     const struct checkpoint_parts *parts,
                                     struct unstir_error *err)
{
    struct derived *d = m->derived;
    unsigned encoder = 0;
    bool is_touched;

    TRY(derive_net(m, parts, err));
    is_touched = d->net != NULL;
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        if (!parts->texts[i].config)
            continue;
        TRY(derive_text(m, i, encoder++, parts, err));
        is_touched |= d->texts[i] != NULL;
    }
    return d->n == 0 || is_touched ? UNSTIR_OK : touch_nothing(d, err);
}

/* -- bytes -------------------------------------------------------------- */

struct touching {
    const struct weights *weights;
    struct lora_use uses[UNSTIR_MAX_LORAS];
    struct lora_task task;
};

static bool is_touched(const void *arg, const char *name)
{
    const struct touching *t = arg;
    const struct tensor_view *v = weights_find(t->weights, name);
    bool touched = false;

    return v && lora_touches(&touched, v, &t->task, NULL) == UNSTIR_OK &&
           touched;
}

/* Bytes of the tensors that are touched, as they stand in memory. */
static enum unstir_status touched_bytes(size_t *n, const struct touching *t,
                                        struct unstir_error *err)
{
    *n = 0;
    for (size_t i = 0; i < weights_len(t->weights); i++) {
        const struct tensor_view *v = weights_at(t->weights, i);
        bool touched;

        TRY(lora_touches(&touched, v, &t->task, err));
        *n += touched ? v->n * sizeof(float) : 0;
    }
    return UNSTIR_OK;
}

static enum unstir_status part_bytes(size_t *n, const struct derived *d,
                                     const struct weights *weights,
                                     enum single_file_part_id part,
                                     struct touching *t,
                                     struct unstir_error *err)
{
    *t = (struct touching){.weights = weights};
    t->task = (struct lora_task){
        .part = part, .uses = t->uses, .n_uses = uses_of(t->uses, d, part)};
    return touched_bytes(n, t, err);
}

/* Of a layer in floats, the largest of all files. */
static size_t layer_bytes(const struct lora *l)
{
    size_t most = 0;

    for (size_t i = 0; i < l->n; i++) {
        size_t n = l->layers[i].up->n + l->layers[i].down->n;

        most = n > most ? n : most;
    }
    return most * sizeof(float);
}

/* The files themselves, and what of them is read into floats. */
static size_t files_bytes(const struct derived *d)
{
    size_t sum = 0, most = 0;

    for (size_t i = 0; i < d->n; i++) {
        size_t n = layer_bytes(&d->loras[i].file);

        sum += d->loras[i].file.n_bytes;
        most = n > most ? n : most;
    }
    return sum + most;
}

/* Parts are made one after the other. */
static enum unstir_status all_bytes(size_t *n, size_t *peak_bytes,
                                    const struct derived *d,
                                    const struct unstir_model *base,
                                    struct unstir_error *err)
{
    struct checkpoint_parts parts = checkpoint_source_parts(&base->source);
    struct touching t;
    unsigned encoder = 0;
    size_t bytes, all = 0;

    *n = *peak_bytes = 0;
    TRY(part_bytes(&all, d, parts.weights, SINGLE_FILE_UNET, &t, err));
    if (all > 0)
        TRY(network_derive_bytes(n, peak_bytes, base->net, is_touched, &t,
                                 err));
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        const struct clip_text *text;

        if (!parts.texts[i].config)
            continue;
        text = base->conditioner.encoders[encoder++];
        TRY(part_bytes(&bytes, d, parts.texts[i].weights,
                       (enum single_file_part_id)(SINGLE_FILE_TEXT + i), &t,
                       err));
        if (bytes > 0)
            *n += bytes + clip_text_info(text)->weight_bytes;
        all += bytes;
    }
    *peak_bytes = (*peak_bytes > *n ? *peak_bytes : *n) + files_bytes(d);
    return d->n == 0 || all > 0 ? UNSTIR_OK : touch_nothing(d, err);
}

/* -- the whole ----------------------------------------------------------- */

static enum unstir_status find_digest(struct unstir_model *m,
                                      struct unstir_error *err)
{
    struct derived *d = m->derived;
    struct digest *digest;
    char text[64];

    m->info.loras = d->infos;
    m->info.n_loras = d->n;
    if (d->n == 0)
        return UNSTIR_OK;
    TRY(digest_new(&digest, err));
    digest_add(digest, "base", m->info.digest, strlen(m->info.digest));
    for (size_t i = 0; i < d->n; i++) {
        const struct unstir_lora_info *l = &d->infos[i];
        int n = snprintf(text, sizeof text, "%.17g %.17g", l->unet_weight,
                         l->text_weight);

        digest_add(digest, "lora", l->digest, strlen(l->digest));
        digest_add(digest, "weights", text, (size_t)n);
    }
    digest_finish(digest, d->digest);
    m->info.digest = d->digest;
    return UNSTIR_OK;
}

static enum unstir_status fill(struct unstir_model *m,
                               const struct unstir_lora *loras, size_t n,
                               bool reads, struct unstir_error *err)
{
    struct checkpoint_parts parts = checkpoint_source_parts(&m->source);
    struct derived *d = m->derived;

    TRY(add_all(d, loras, n, reads, err));
    if (reads) {
        m->info.weight_bytes = 0;
        TRY(derive_all(m, &parts, err));
        close_files(d);
    }
    return find_digest(m, err);
}

static enum unstir_status check_base(const struct unstir_model *base,
                                     struct unstir_error *err)
{
    if (!base->derived && checkpoint_source_parts(&base->source).weights)
        return UNSTIR_OK;
    return error_set(err, UNSTIR_ERR_ARG,
                     "LoRAs are added to a model that was opened from its "
                     "files and has none");
}

static enum unstir_status derive(struct unstir_model **out,
                                 const struct unstir_model *base,
                                 const struct unstir_lora *loras, size_t n,
                                 const struct checkpoint_deriving *how,
                                 struct unstir_error *err)
{
    enum unstir_status status;
    struct unstir_model *m;

    *out = NULL;
    TRY(check_base(base, err));
    TRY(alloc_zero(&m, 1, sizeof *m, err));
    *m = *base;
    status = alloc_zero(&m->derived, 1, sizeof *m->derived, err);
    if (status != UNSTIR_OK) {
        alloc_free(m);
        return status;
    }
    if (how) {
        m->derived->is_canceled = how->is_canceled;
        m->derived->user = how->user;
    }
    status = fill(m, loras, n, how != NULL, err);
    if (status != UNSTIR_OK) {
        checkpoint_free_derived(m);
        return status;
    }
    *out = m;
    return UNSTIR_OK;
}

enum unstir_status checkpoint_derive(struct unstir_model **out,
                                     const struct unstir_model *base,
                                     const struct unstir_lora *loras, size_t n,
                                     const struct checkpoint_deriving *how,
                                     struct unstir_error *err)
{
    return derive(out, base, loras, n, how, err);
}

enum unstir_status checkpoint_describe_derived(struct unstir_model **out,
                                               const struct unstir_model *base,
                                               const struct unstir_lora *loras,
                                               size_t n,
                                               struct unstir_error *err)
{
    return derive(out, base, loras, n, NULL, err);
}

enum unstir_status checkpoint_derive_bytes(const struct unstir_model *base,
                                           const struct unstir_lora *loras,
                                           size_t n, size_t *n_bytes,
                                           size_t *peak_bytes,
                                           struct unstir_error *err)
{
    enum unstir_status status;
    struct derived *d;

    *n_bytes = *peak_bytes = 0;
    TRY(check_base(base, err));
    TRY(alloc_zero(&d, 1, sizeof *d, err));
    status = add_all(d, loras, n, true, err);
    if (status == UNSTIR_OK)
        status = all_bytes(n_bytes, peak_bytes, d, base, err);
    close_files(d);
    alloc_free(d);
    return status;
}

void checkpoint_free_derived(struct unstir_model *m)
{
    struct derived *d = m->derived;

    network_free(d->net);
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        clip_text_free(d->texts[i]);
        weights_close(d->text_weights[i]);
    }
    close_files(d);
    alloc_free(d);
    alloc_free(m);
}
