/* request_words.c - what to paint: a class or texts.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/request_inside.h"

#include <stdio.h>
#include <string.h>

#include "pipeline/checkpoint.h"
#include "pipeline/model_labels.h"
#include "pipeline/request.h"

/* A class by number. */
static void check_class_id(struct check *c, uint32_t n_embeds)
{
    const struct unstir_model_info *info = &c->model->info;
    int64_t id = c->request->class_id;
    char nearest[32];

    if (id == UNSTIR_CLASS_NULL || id == UNSTIR_CLASS_UNSET) {
        if (info->null_class >= 0 || n_embeds == 0)
            c->out->class_id = UNSTIR_CLASS_NULL;
        else if (n_embeds == 1 && id == UNSTIR_CLASS_UNSET)
            c->out->class_id = 0;
        else
            check_violate(c, "class", NULL,
                          "this model needs a class: 0 to %u%s", n_embeds - 1,
                          info->n_labels ? ", or a label" : "");
        return;
    }
    if (n_embeds == 0) {
        check_violate(c, "class", NULL,
                      "this model has no classes, but class %lld "
                      "was asked for",
                      (long long)id);
        return;
    }
    if (id < 0 || id >= n_embeds) {
        (void)snprintf(nearest, sizeof nearest, "%u",
                       id < 0 ? 0 : n_embeds - 1);
        check_violate(c, "class", nearest, "class must be 0 to %u, not %lld",
                      n_embeds - 1, (long long)id);
        return;
    }
    c->out->class_id = id;
}

void check_class(struct check *c)
{
    const struct unstir_model_info *info = &c->model->info;
    uint32_t n_embeds = info->n_classes + (info->null_class >= 0);
    const char *label = check_is_said(c->request->label) ? c->request->label
                                                         : c->request->prompt;
    struct unstir_error err;
    char text[256];

    c->out->class_id = UNSTIR_CLASS_NULL;
    c->out->label = NULL;
    if (!check_is_said(label)) {
        check_class_id(c, n_embeds);
    } else if (labels_find(info, n_embeds, label, &c->out->class_id, &err)) {
        check_violate(
            c, "class",
            check_quote(text, sizeof text, labels_nearest(info, label)), "%s",
            err.detail);
        return;
    }
    if (c->out->class_id == info->null_class)
        c->out->class_id = UNSTIR_CLASS_NULL;
    if (c->out->class_id >= 0)
        c->out->label = labels_name(info, c->out->class_id);
}

/* Models without a text encoder.  The prompt is a label: check_class(). */
void check_no_texts(struct check *c)
{
    const struct unstir_request *q = c->request;
    const char *id = c->model->info.id;

    if (check_is_said(q->negative_prompt))
        check_violate(c, "negative_prompt", NULL,
                      "%s reads no text: it has nothing to keep away from", id);
    if (q->clip_skip > 1)
        check_violate(c, "clip_skip", "1", "%s has no text encoder", id);
    if (q->prompt_syntax)
        check_violate(c, "prompt_syntax", NULL, "%s reads no text", id);
    c->out->prompt = c->out->negative_prompt = c->out->prompt_syntax = NULL;
    c->out->clip_skip = 1;
}

void check_no_class(struct check *c)
{
    const struct unstir_request *q = c->request;

    if (check_is_said(q->label) || q->class_id >= 0)
        check_violate(c, "class", NULL, "%s has no classes; it reads a prompt",
                      c->model->info.id);
    c->out->label = NULL;
    c->out->class_id = UNSTIR_CLASS_NULL;
}

/* A LoRA that a text names is in use, or it would be passed over in silence. */
static void check_tag(struct check *c, const char *field,
                      const struct unstir_lora_tag *tag)
{
    const struct unstir_model_info *info = &c->model->info;

    if (tag->unet_weight == 0 && tag->text_weight == 0)
        return;
    for (size_t i = 0; i < info->n_loras; i++)
        if (strcmp(info->loras[i].name, tag->name) == 0)
            return;
    check_violate(c, field, NULL, "the LoRA \"%.60s\" is not in use here",
                  tag->name);
}

static void check_tags(struct check *c, const char *field, const char *text)
{
    struct unstir_lora_tag tags[UNSTIR_MAX_LORAS];
    size_t n;

    if (prompt_lora_tags(text, tags, &n, NULL) != UNSTIR_OK)
        return; /* told already */
    for (size_t i = 0; i < n; i++)
        check_tag(c, field, &tags[i]);
}

static void check_text(struct check *c, const char *field, const char *text,
                       enum prompt_syntax syntax)
{
    struct unstir_error err;
    enum unstir_status status;

    if (!text)
        return;
    status = conditioner_check(&c->model->conditioner, text, syntax, &err);
    if (status == UNSTIR_ERR_NOMEM) {
        check_note_memory(c, &err);
    } else if (status) {
        check_violate(c, field, NULL, "%s", err.detail);
    } else if (syntax == PROMPT_WEIGHTED && !c->is_untagged) {
        check_tags(c, field, text);
    }
}

static void check_clip_skip(struct check *c)
{
    uint32_t most = c->model->conditioner.max_skip;
    char nearest[16];

    c->out->clip_skip = c->request->clip_skip ? c->request->clip_skip : 1;
    if (c->out->clip_skip <= most)
        return;
    (void)snprintf(nearest, sizeof nearest, "%u", most);
    check_violate(c, "clip_skip", nearest, "clip_skip must be 1 to %u, not %u",
                  most, c->out->clip_skip);
}

/* Behind check_guidance(): unguided pictures have no negative prompt. */
void check_texts(struct check *c)
{
    const struct unstir_request *q = c->request;
    struct unstir_request *out = c->out;
    enum prompt_syntax syntax = PROMPT_WEIGHTED;

    if (q->prompt_syntax && !prompt_syntax_find(&syntax, q->prompt_syntax))
        check_violate(c, "prompt_syntax", "\"weighted\"",
                      "prompt_syntax must be weighted or plain, not \"%.40s\"",
                      q->prompt_syntax);
    out->prompt_syntax = syntax == PROMPT_PLAIN ? "plain" : NULL;
    out->prompt = q->prompt ? q->prompt : "";
    check_text(c, "prompt", out->prompt, syntax);
    check_text(c, "negative_prompt", q->negative_prompt, syntax);
    if (check_is_said(q->negative_prompt) &&
        c->model->conditioner.guidance_width > 0)
        check_violate(
            c, "negative_prompt", NULL,
            "%s embeds the guidance scale and has no second evaluation "
            "to keep away with",
            c->model->info.id);
    if (!request_is_guided(c->model, out) ||
        (q->negative_prompt && !*q->negative_prompt &&
         !c->model->conditioner.is_empty_zero))
        out->negative_prompt = NULL;
    check_clip_skip(c);
}
