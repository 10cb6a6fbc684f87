/* genreq_loras.c - the LoRAs of a request.
 *
 * They come from the field `loras` and, where the model reads a text, from
 * <lora:name:0.8> in the prompt.  One that stands in both counts as the field
 * has it: the canonical request lists all of them and keeps the prompt, so it
 * reads back to itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "genreq.h"
#include "genreq_body.h"
#include "loras.h"
#include "service.h"

#define NEAREST 3u

struct reader {
    const struct service *service;
    const struct jdoc *doc;
    struct problem *problem;
    bool is_right;
    struct unstir_lora loras[UNSTIR_MAX_LORAS];
    uint64_t n_bytes; /* of the files                                        */
    size_t n;
};

static void violate(struct reader *r, const char *pointer, const char *nearest,
                    const char *format, ...) BUF_PRINTF(4, 5);
static void violate(struct reader *r, const char *pointer, const char *nearest,
                    const char *format, ...)
{
    va_list args;

    r->is_right = false;
    va_start(args, format);
    problem_vadd(r->problem, pointer,
                 jdoc_text(r->doc, pointer, r->problem->arena), nearest, format,
                 args);
    va_end(args);
}

/* ["ink","inkwell"], or NULL. */
static const char *nearest_names(struct reader *r, const char *name)
{
    struct mem_arena *arena = r->problem->arena;
    const char *names[NEAREST], *text = "";
    size_t n = loras_nearest(r->service->loras, name, names, NEAREST);

    for (size_t i = 0; i < n; i++) {
        text = mem_arena_printf(arena, "%s%s%s", text, i > 0 ? "," : "",
                                json_quote(arena, names[i]));
        if (text == NULL)
            return NULL;
    }
    return n > 0 ? mem_arena_printf(arena, "[%s]", text) : NULL;
}

static bool has_folder(const struct service *service)
{
    return service->config->lora_dir != NULL &&
           service->config->lora_dir[0] != '\0';
}

/* NULL after a violation. */
static const struct lora_file *find(struct reader *r, const char *pointer,
                                    const char *name)
{
    const struct lora_file *file = loras_find(r->service->loras, name);

    if (file != NULL && file->is_usable)
        return file;
    if (file != NULL)
        violate(r, pointer, NULL, "LoRA %s cannot be used: %s", name,
                file->why);
    else if (!has_folder(r->service))
        violate(r, pointer, NULL,
                "this server has no folder of LoRAs (--lora-dir)");
    else
        violate(r, pointer, nearest_names(r, name),
                "there is no LoRA \"%.128s\" here; GET /v1/loras lists all",
                name);
    return NULL;
}

static bool is_named(const struct reader *r, const char *name)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->loras[i].name, name) == 0)
            return true;
    return false;
}

static void add(struct reader *r, const char *pointer,
                const struct lora_file *file, double unet, double text)
{
    uint64_t max_bytes = r->service->config->lora_bytes;

    if (!(fabs(unet) <= UNSTIR_MAX_LORA_WEIGHT) ||
        !(fabs(text) <= UNSTIR_MAX_LORA_WEIGHT)) {
        violate(r, pointer, NULL, "scales are -%d to %d",
                UNSTIR_MAX_LORA_WEIGHT, UNSTIR_MAX_LORA_WEIGHT);
        return;
    }
    if (r->n == UNSTIR_MAX_LORAS) {
        violate(r, pointer, NULL, "there are more than %d LoRAs",
                UNSTIR_MAX_LORAS);
        return;
    }
    if (unet != 0 || text != 0)
        r->n_bytes += file->details.n_bytes;
    if (r->n_bytes > max_bytes) {
        violate(r, pointer, NULL,
                "the files of the LoRAs have more than %llu bytes together",
                (unsigned long long)max_bytes);
        return;
    }
    r->loras[r->n++] = (struct unstir_lora){.path = file->path,
                                            .name = file->name,
                                            .unet_weight = unet,
                                            .text_weight = text,
                                            .digest = file->details.digest,
                                            .max_bytes = (size_t)max_bytes};
}

/* "name:0.8" is read as if it stood in a prompt. */
static bool read_text(struct reader *r, const char *pointer, const char *text,
                      struct unstir_lora_tag *tag)
{
    struct unstir_lora_tag tags[UNSTIR_MAX_LORAS];
    struct unstir_error error;
    const char *prompt;
    size_t n;

    if (strpbrk(text, "<>") != NULL) {
        violate(r, pointer, NULL, "a name has no < or >");
        return false;
    }
    prompt = mem_arena_printf(r->problem->arena, "<lora:%s>", text);
    if (prompt != NULL &&
        unstir_prompt_loras(prompt, tags, &n, &error) == UNSTIR_OK && n == 1) {
        *tag = tags[0];
        return true;
    }
    violate(r, pointer, NULL, "%s",
            prompt != NULL ? error.detail : "out of memory");
    return false;
}

static void check_digest(struct reader *r, const char *pointer,
                         const struct lora_body *item,
                         const struct lora_file *file)
{
    if (item->sha256 != NULL &&
        strcasecmp(item->sha256, file->details.digest) != 0)
        violate(r, pointer, json_quote(r->problem->arena, file->details.digest),
                "LoRA %s is another file here: its SHA-256 is %s", file->name,
                file->details.digest);
}

static void read_item(struct reader *r, const char *pointer,
                      const struct lora_body *item)
{
    struct unstir_lora_tag tag = {.unet_weight = 1, .text_weight = 1};
    const struct lora_file *file;

    if (item->name == NULL || item->name[0] == '\0') {
        violate(r, pointer, NULL, "has no name");
        return;
    }
    if (item->has_scale)
        (void)snprintf(tag.name, sizeof tag.name, "%s", item->name);
    else if (!read_text(r, pointer, item->name, &tag))
        return;
    if (item->has_scale)
        tag.unet_weight = tag.text_weight = item->scale;
    if (item->has_text_scale)
        tag.text_weight = item->text_scale;
    file = find(r, pointer, tag.name);
    if (file == NULL)
        return;
    check_digest(r, pointer, item, file);
    if (is_named(r, file->name))
        violate(r, pointer, NULL, "LoRA %s is named twice", file->name);
    else
        add(r, pointer, file, tag.unet_weight, tag.text_weight);
}

static void read_field(struct reader *r, const struct json_list *list)
{
    const struct lora_body *items = list->items;
    bool is_list =
        list->n > 0 && jdoc_text(r->doc, "/loras/0", r->problem->arena) != NULL;

    for (size_t i = 0; i < list->n; i++) {
        char pointer[32] = "/loras";

        if (is_list)
            (void)snprintf(pointer, sizeof pointer, "/loras/%zu", i);
        read_item(r, pointer, &items[i]);
    }
}

static void read_prompt(struct reader *r, const char *prompt)
{
    struct unstir_lora_tag tags[UNSTIR_MAX_LORAS];
    size_t n = 0;

    if (unstir_prompt_loras(prompt, tags, &n, NULL) != UNSTIR_OK)
        return; /* told when the prompt is checked */
    for (size_t i = 0; i < n; i++) {
        const struct lora_file *file;

        if ((tags[i].unet_weight == 0 && tags[i].text_weight == 0) ||
            is_named(r, tags[i].name))
            continue;
        file = find(r, "/prompt", tags[i].name);
        if (file != NULL)
            add(r, "/prompt", file, tags[i].unet_weight, tags[i].text_weight);
    }
}

static bool reads_tags(const struct body *body, const struct model *model)
{
    return model->info->takes_text && body->prompt != NULL &&
           (body->prompt_syntax == NULL ||
            strcmp(body->prompt_syntax, "plain") != 0);
}

/* Whether a scale is not 0. */
static bool is_any_used(const struct reader *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->loras[i].unet_weight != 0 || r->loras[i].text_weight != 0)
            return true;
    return false;
}

/* Known from an earlier request: nothing has to be tried again. */
static struct model *check_known(struct reader *r, struct model *model)
{
    if (model == NULL || model->state != MODEL_FAILED)
        return model;
    violate(r, "/loras", NULL, "%s", model_public_why(model));
    model_release(model);
    return NULL;
}

struct model *genreq_with_loras(const struct body *body, struct model *model,
                                const struct service *service,
                                const struct jdoc *doc, struct problem *problem)
{
    struct reader r = {
        .service = service, .doc = doc, .problem = problem, .is_right = true};
    struct model *derived;

    read_field(&r, &body->loras);
    if (reads_tags(body, model))
        read_prompt(&r, body->prompt);
    if (!r.is_right)
        return NULL;
    if (!is_any_used(&r))
        return model;
    derived = models_derive(service->models, model, r.loras, r.n);
    if (derived == NULL)
        problem->code = ERROR_NO_MEMORY;
    return check_known(&r, derived);
}
