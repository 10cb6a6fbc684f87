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
#include <string.h>

#include "base/alloc.h"
#include "format/digest.h"
#include "format/lora.h"
#include "format/weights.h"
#include "format/weights_build.h"
#include "model/clip_text.h"
#include "model/lora_derive.h"
#include "model/network.h"
#include "pipeline/checkpoint_inside.h"

#define MAX_WEIGHT 100.0 /* as in prompts                                    */
#define NAME_BYTES 256

struct derived {
    struct lora files[UNSTIR_MAX_LORAS]; /* while it is made                 */
    struct unstir_lora_info loras[UNSTIR_MAX_LORAS];
    char names[UNSTIR_MAX_LORAS][NAME_BYTES];
    char digests[UNSTIR_MAX_LORAS][65];
    size_t n;
    char digest[65];
    struct network *net;                            /* NULL: the base's       */
    struct clip_text *texts[CONDITIONING_ENCODERS]; /* as net                */
    struct weights *text_weights[CONDITIONING_ENCODERS];
};

/* -- LoRAs --------------------------------------------------------------- */

static void name_of(char name[NAME_BYTES], const struct unstir_lora *l)
{
    const char *slash = strrchr(l->path, '/');
    const char *text = l->name ? l->name : slash ? slash + 1 : l->path;
    char *dot;

    (void)snprintf(name, NAME_BYTES, "%.255s", text);
    dot = l->name ? NULL : strrchr(name, '.');
    if (dot && dot > name)
        *dot = '\0';
}

static enum unstir_status digest_of(char hex[65], const struct lora *l,
                                    struct unstir_error *err)
{
    struct digest *digest;

    TRY(digest_new(&digest, err));
    for (size_t i = 0; i < l->file->n_sources; i++)
        digest_add_plain(digest, l->file->sources[i].map.bytes,
                         l->file->sources[i].map.n_bytes);
    digest_finish(digest, hex);
    return UNSTIR_OK;
}

static enum unstir_status add_lora(struct derived *d,
                                   const struct unstir_lora *l,
                                   struct unstir_error *err)
{
    size_t i = d->n;

    if (!(fabs(l->unet_weight) <= MAX_WEIGHT) ||
        !(fabs(l->text_weight) <= MAX_WEIGHT))
        return error_set(err, UNSTIR_ERR_ARG,
                         "LoRA %.200s: weights are -100 to 100", l->path);
    if (l->unet_weight == 0 && l->text_weight == 0)
        return UNSTIR_OK; /* as if it were not given */
    if (i == UNSTIR_MAX_LORAS)
        return error_set(err, UNSTIR_ERR_LIMIT, "more than %d LoRAs",
                         UNSTIR_MAX_LORAS);
    name_of(d->names[i], l);
    TRY(lora_open(&d->files[i], l->path, err));
    d->n++;
    TRY(digest_of(d->digests[i], &d->files[i], err));
    d->loras[i] = (struct unstir_lora_info){.name = d->names[i],
                                            .digest = d->digests[i],
                                            .unet_weight = l->unet_weight,
                                            .text_weight = l->text_weight};
    return UNSTIR_OK;
}

static size_t uses_of(struct lora_use uses[UNSTIR_MAX_LORAS],
                      const struct derived *d, enum single_file_part_id part)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++) {
        double scale = part == SINGLE_FILE_UNET ? d->loras[i].unet_weight
                                                : d->loras[i].text_weight;

        if (scale != 0)
            uses[n++] = (struct lora_use){&d->files[i], scale};
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
    size_t n = uses_of(uses, d, part), n_touched;

    *out = NULL;
    if (n == 0)
        return UNSTIR_OK;
    TRY(lora_derive(out, base, part, uses, n, &n_touched, err));
    if (n_touched > 0)
        return UNSTIR_OK;
    weights_close(*out);
    *out = NULL;
    return UNSTIR_OK;
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
    TRY(clip_text_open(&d->texts[i], parts->texts[i].config, d->text_weights[i],
                       &options, err));
    m->conditioner.encoders[encoder] = d->texts[i];
    m->info.weight_bytes += clip_text_info(d->texts[i])->weight_bytes;
    return UNSTIR_OK;
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
    if (d->n > 0 && !is_touched)
        return error_set(err, UNSTIR_ERR_ARG,
                         "the LoRAs touch no layer of this model: they were "
                         "made for another kind");
    return UNSTIR_OK;
}

/* -- the whole ----------------------------------------------------------- */

static enum unstir_status find_digest(struct unstir_model *m,
                                      struct unstir_error *err)
{
    struct derived *d = m->derived;
    struct digest *digest;
    char text[64];

    if (d->n == 0)
        return UNSTIR_OK;
    TRY(digest_new(&digest, err));
    digest_add(digest, "base", m->info.digest, strlen(m->info.digest));
    for (size_t i = 0; i < d->n; i++) {
        const struct unstir_lora_info *l = &d->loras[i];
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
                               struct unstir_error *err)
{
    struct checkpoint_parts parts = checkpoint_source_parts(&m->source);
    struct derived *d = m->derived;

    for (size_t i = 0; i < n; i++)
        TRY(add_lora(d, &loras[i], err));
    m->info.weight_bytes = 0;
    TRY(derive_all(m, &parts, err));
    TRY(find_digest(m, err));
    m->info.loras = d->loras;
    m->info.n_loras = d->n;
    for (size_t i = 0; i < d->n; i++)
        lora_close(&d->files[i]);
    return UNSTIR_OK;
}

enum unstir_status checkpoint_derive(struct unstir_model **out,
                                     const struct unstir_model *base,
                                     const struct unstir_lora *loras, size_t n,
                                     struct unstir_error *err)
{
    enum unstir_status status;
    struct unstir_model *m;
    void *memory;

    *out = NULL;
    if (base->derived || !checkpoint_source_parts(&base->source).weights)
        return error_set(err, UNSTIR_ERR_ARG,
                         "LoRAs are added to a model that was opened from its "
                         "files and has none");
    TRY(alloc_zero(&memory, 1, sizeof *m, err));
    m = memory;
    *m = *base;
    status = alloc_zero(&memory, 1, sizeof *m->derived, err);
    if (status != UNSTIR_OK) {
        alloc_free(m);
        return status;
    }
    m->derived = memory;
    status = fill(m, loras, n, err);
    if (status != UNSTIR_OK) {
        checkpoint_free_derived(m);
        return status;
    }
    *out = m;
    return UNSTIR_OK;
}

void checkpoint_free_derived(struct unstir_model *m)
{
    struct derived *d = m->derived;

    network_free(d->net);
    for (size_t i = 0; i < CONDITIONING_ENCODERS; i++) {
        clip_text_free(d->texts[i]);
        weights_close(d->text_weights[i]);
    }
    for (size_t i = 0; i < d->n; i++)
        lora_close(&d->files[i]);
    alloc_free(d);
    alloc_free(m);
}
