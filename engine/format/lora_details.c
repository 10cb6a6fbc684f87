/* lora_details.c - what a LoRA file says of itself.
 *
 * Names tell the kind, shapes and ranks are counted, the rest comes from the
 * metadata that trainers write: kohya's ss_* and the model specification's
 * modelspec.*.  All of that is text from outside: what does not read as
 * expected is left out.
 *
 * SPDX-License-Identifier: MIT
 */
#include "format/lora_details.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/affix.h"
#include "base/compiler.h"
#include "format/json.h"
#include "format/weights.h"

/* Of tag counts: parsing takes a multiple of it. */
#define MAX_TAGS_BYTES ((size_t)16 << 20)

/* -- kind and family ------------------------------------------------------ */

static const char *kind_of(const struct lora *lora)
{
    for (size_t i = 0; i < weights_len(lora->file); i++) {
        const char *name = weights_at(lora->file, i)->name;

        if (affix_begins(name, "lora_"))
            return "kohya";
        if (strstr(name, ".lora_A."))
            return "peft";
    }
    return "diffusers";
}

/* The first row whose text begins the value of one of these keys. */
static const char *family_by_metadata(const struct lora *lora)
{
    static const struct {
        const char *key, *begin, *family;
    } rows[] = {
        {"ss_base_model_version", "sdxl", "sdxl"},
        {"ss_base_model_version", "sd_v1", "sd1"},
        {"ss_base_model_version", "sd_v2", "sd2"},
        {"modelspec.architecture", "stable-diffusion-xl", "sdxl"},
        {"modelspec.architecture", "stable-diffusion-v1", "sd1"},
        {"modelspec.architecture", "stable-diffusion-v2", "sd2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *value = weights_metadata(lora->file, rows[i].key);

        if (value && affix_begins(value, rows[i].begin))
            return rows[i].family;
    }
    return NULL;
}

/* Widths of the text that the UNet's cross attention reads. */
static const char *family_by_shapes(const struct lora *lora)
{
    static const struct {
        size_t width;
        const char *family;
    } rows[] = {{768, "sd1"}, {1024, "sd2"}, {2048, "sdxl"}};

    for (size_t i = 0; i < lora->n; i++) {
        const struct lora_layer *l = &lora->layers[i];

        if (l->part == SINGLE_FILE_TEXT_2)
            return "sdxl";
        if (l->part != SINGLE_FILE_UNET ||
            (!strstr(l->name, "attn2_to_k") && !strstr(l->name, "attn2_to_v")))
            continue;
        for (size_t r = 0; r < ARRAY_LEN(rows); r++)
            if (l->down->n / (size_t)l->rank == rows[r].width)
                return rows[r].family;
    }
    return NULL;
}

const char *lora_family(const struct lora *lora)
{
    const char *family = family_by_metadata(lora);

    return family ? family : family_by_shapes(lora);
}

const char *lora_family_title(const char *family)
{
    static const struct {
        const char *family, *title;
    } rows[] = {{"sd1", "Stable Diffusion 1.x"},
                {"sd2", "Stable Diffusion 2.x"},
                {"sdxl", "Stable Diffusion XL"}};

    for (size_t i = 0; family && i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].family, family) == 0)
            return rows[i].title;
    return "another kind of model";
}

/* -- trigger words --------------------------------------------------------- */

struct words {
    struct unstir_lora_details *out;
    double counts[UNSTIR_MAX_TRIGGERS]; /* falling                           */
};

static bool is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127)
            return false;
    return n > 0;
}

static size_t place_of(const struct words *w, const char *text, size_t n)
{
    size_t i = 0;

    while (i < w->out->n_triggers &&
           (strlen(w->out->triggers[i]) != n ||
            memcmp(w->out->triggers[i], text, n) != 0))
        i++;
    return i;
}

/* Keep a word among those with the highest counts; one that is there already
 * stays where it is. */
static void add_word(struct words *w, const char *text, size_t n, double count)
{
    struct unstir_lora_details *out = w->out;
    size_t i = out->n_triggers;

    while (n > 0 && text[0] == ' ') {
        text++;
        n--;
    }
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (!is_plain(text, n) || n >= sizeof out->triggers[0] ||
        place_of(w, text, n) < out->n_triggers)
        return;
    while (i > 0 && w->counts[i - 1] < count)
        i--;
    if (i == UNSTIR_MAX_TRIGGERS)
        return;
    if (out->n_triggers < UNSTIR_MAX_TRIGGERS)
        out->n_triggers++;
    for (size_t k = out->n_triggers - 1; k > i; k--) {
        w->counts[k] = w->counts[k - 1];
        memcpy(out->triggers[k], out->triggers[k - 1], sizeof out->triggers[k]);
    }
    w->counts[i] = count;
    memcpy(out->triggers[i], text, n);
    out->triggers[i][n] = '\0';
}

static void add_phrase(struct words *w, const char *phrase)
{
    while (*phrase) {
        size_t n = strcspn(phrase, ",");

        add_word(w, phrase, n, 0);
        phrase += n + (phrase[n] == ',');
    }
}

/* {"folder": {"tag": count, ...}, ...} */
static void add_tags(struct words *w, const char *text)
{
    const struct json *folder, *count;
    struct json *root = NULL;
    const char *name, *tag;
    size_t i = 0;

    if (strlen(text) > MAX_TAGS_BYTES ||
        json_parse(&root, text, strlen(text), NULL) != UNSTIR_OK)
        return;
    while (json_each(root, &i, &name, &folder)) {
        size_t k = 0;

        if (json_type(folder) != JSON_OBJECT)
            continue;
        while (json_each(folder, &k, &tag, &count))
            add_word(w, tag, strlen(tag), json_real(count));
    }
    json_free(root);
}

/* What the author calls the trigger, else the commonest captions. */
static void find_triggers(struct unstir_lora_details *out,
                          const struct lora *lora)
{
    struct words w = {.out = out};
    const char *phrase =
        weights_metadata(lora->file, "modelspec.trigger_phrase");
    const char *tags = weights_metadata(lora->file, "ss_tag_frequency");

    if (phrase)
        add_phrase(&w, phrase);
    if (out->n_triggers == 0 && tags)
        add_tags(&w, tags);
}

/* -- the whole ------------------------------------------------------------- */

static void count_layers(struct unstir_lora_details *out,
                         const struct lora *lora)
{
    out->n_layers = (uint32_t)lora->n; /* at most LORA_MAX_LAYERS            */
    for (size_t i = 0; i < lora->n; i++) {
        const struct lora_layer *l = &lora->layers[i];
        uint32_t rank = (uint32_t)l->rank;
        double alpha = (double)l->factor * rank;

        if (l->part == SINGLE_FILE_UNET)
            out->has_unet = true;
        else
            out->has_text = true;
        if (i == 0 || rank < out->min_rank)
            out->min_rank = rank;
        if (i == 0 || rank > out->max_rank)
            out->max_rank = rank;
        out->min_alpha = i == 0 ? alpha : fmin(out->min_alpha, alpha);
        out->max_alpha = i == 0 ? alpha : fmax(out->max_alpha, alpha);
    }
}

enum unstir_status lora_details(struct unstir_lora_details *out,
                                const struct lora *lora,
                                struct unstir_error *err)
{
    *out = (struct unstir_lora_details){.n_bytes = lora->n_bytes};
    TRY(lora_digest(out->digest, lora, err));
    out->kind = kind_of(lora);
    out->family = lora_family(lora);
    count_layers(out, lora);
    find_triggers(out, lora);
    return UNSTIR_OK;
}
