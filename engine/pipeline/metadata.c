/* metadata.c - what a picture says about itself.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pipeline/metadata.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "pipeline/checkpoint.h"
#include "pipeline/generation.h"
#include "pipeline/relay.h"

#define XMP_HEAD                                                             \
    "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"   \
    "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n"                               \
    " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n" \
    "  <rdf:Description rdf:about=\"\"\n"                                    \
    "   xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\"\n" \
    "   Iptc4xmpExt:DigitalSourceType=\"http://cv.iptc.org/newscodes/"       \
    "digitalsourcetype/"
#define XMP_TAIL     \
    "/>\n"           \
    " </rdf:RDF>\n"  \
    "</x:xmpmeta>\n" \
    "<?xpacket end=\"r\"?>"

/* A JPEG's segment has room for 65,535 bytes with its heading. */
#define MAX_XMP_BYTES 65000u

/* -- XMP ------------------------------------------------------------------- */

struct text {
    char *at; /* NULL: only count */
    size_t n;
};

static void put(struct text *t, const char *text)
{
    size_t n = strlen(text);

    if (t->at)
        memcpy(t->at + t->n, text, n + 1);
    t->n += n;
}

/* As the value of an attribute. */
static void put_escaped(struct text *t, const char *text)
{
    for (; *text; text++) {
        const char one[] = {*text, '\0'};
        put(t, *text == '&'   ? "&amp;"
               : *text == '<' ? "&lt;"
               : *text == '"' ? "&quot;"
                              : one);
    }
}

static void put_xmp(struct text *t, const struct unstir_generation *g,
                    const char *request, const char *origin)
{
    put(t, XMP_HEAD);
    put(t, relay_first(g)->start.has_picture
               ? "compositeWithTrainedAlgorithmicMedia"
               : "trainedAlgorithmicMedia");
    put(t, "\"");
    if (request) {
        put(t, "\n   xmlns:unstir=\"urn:unstir:1\"\n   unstir:request=\"");
        put_escaped(t, request);
        put(t, "\"\n   unstir:origin=\"");
        put_escaped(t, origin);
        put(t, "\"");
    }
    put(t, XMP_TAIL);
}

/* With request and origin where the file has no other place for them. */
static enum unstir_status write_xmp(const struct unstir_generation *g,
                                    const char *request, const char *origin,
                                    char **out, struct unstir_error *err)
{
    struct text text = {0};
    void *memory;

    put_xmp(&text, g, request, origin);
    if (request && text.n > MAX_XMP_BYTES)
        return write_xmp(g, NULL, NULL, out, err);
    TRY(alloc_zero(&memory, text.n + 1, 1, err));
    text = (struct text){memory, 0};
    put_xmp(&text, g, request, origin);
    *out = memory;
    return UNSTIR_OK;
}

/* -- texts ----------------------------------------------------------------- */

static void add(struct metadata *m, const char *key, const char *value)
{
    m->texts[m->n++] = (struct unstir_text){key, value};
}

/* "\nNegative prompt: ..." of models that read a text. */
static enum unstir_status write_prompts(const struct unstir_generation *g,
                                        char **out, struct unstir_error *err)
{
    static const char mark[] = "\nNegative prompt: ";
    const struct unstir_request *r = &relay_first(g)->request;
    const char *prompt = r->prompt ? r->prompt : "";
    const char *away = r->negative_prompt ? r->negative_prompt : "";
    char class[32] = "";
    size_t size;
    void *text;

    if (r->label)
        prompt = r->label;
    else if (r->class_id >= 0)
        (void)snprintf(class, sizeof class, "%" PRId64, r->class_id);
    size = sizeof class + strlen(prompt) + sizeof mark + strlen(away);
    TRY(alloc_zero(&text, size, 1, err));
    (void)snprintf(text, size, "%s%s%s%s", prompt, class, *away ? mark : "",
                   away);
    *out = text;
    return UNSTIR_OK;
}

/* Whatever is not as usual: ", Name: value" each. */
static void write_extras(const struct unstir_generation *g, char *text,
                         size_t size)
{
    const struct unstir_generation *first = relay_first(g);
    const struct unstir_request *r = &first->request;
    size_t n = 0;

    text[0] = '\0';
    if (r->eta > 0)
        n += (size_t)snprintf(text + n, size - n, ", Eta: %g", r->eta);
    if (r->variation_strength > 0)
        n += (size_t)snprintf(text + n, size - n,
                              ", Variation seed: %" PRIu64
                              ", Variation seed strength: %g",
                              r->variation_seed, r->variation_strength);
    if (r->clip_skip > 1)
        n += (size_t)snprintf(text + n, size - n, ", Clip skip: %u",
                              r->clip_skip);
    if (r->deep_cache > 1)
        n += (size_t)snprintf(text + n, size - n, ", DeepCache: %u",
                              r->deep_cache);
    if (first->start.has_picture)
        n += (size_t)snprintf(text + n, size - n, ", Denoising strength: %g%s",
                              r->strength,
                              first->start.has_mask ? ", Mask: yes" : "");
    if (g->relay.model)
        n += (size_t)snprintf(text + n, size - n,
                              ", Refiner: %.100s [%.10s], Refiner switch at: "
                              "%g",
                              g->relay.model->info.id,
                              g->relay.model->info.digest, r->denoising_end);
    if (g->is_early)
        (void)snprintf(text + n, size - n, ", Finished after: %u",
                       relay_progress(g).step);
}

/* The prompt and what to keep away from, then "Name: value" pairs. */
static enum unstir_status write_parameters(const struct unstir_generation *g,
                                           char **out, struct unstir_error *err)
{
    const struct unstir_generation *first = relay_first(g);
    const struct unstir_request *r = &first->request;
    const struct unstir_model_info *info = &first->model->info;
    char pairs[1024], extras[448], schedule[64] = "", *prompts;
    size_t size;
    void *text;

    if (r->schedule && sampler_schedule_find(r->schedule))
        (void)snprintf(schedule, sizeof schedule, ", Schedule type: %s",
                       sampler_schedule_find(r->schedule)->info->title);
    write_extras(g, extras, sizeof extras);
    (void)snprintf(pairs, sizeof pairs,
                   "Steps: %u, Sampler: %s%s, CFG scale: %g, Seed: %" PRIu64
                   ", Size: %ux%u%s, Model hash: %.10s, Model: %.100s, "
                   "Version: unstir " UNSTIR_VERSION,
                   r->steps, first->run.sampler->info->title, schedule,
                   r->guidance, r->seed, r->width, r->height, extras,
                   info->digest, info->id);
    TRY(write_prompts(g, &prompts, err));
    size = strlen(prompts) + 1 + sizeof pairs;
    enum unstir_status status = alloc_zero(&text, size, 1, err);
    if (status == UNSTIR_OK) {
        (void)snprintf(text, size, "%s\n%s", prompts, pairs);
        *out = text;
    }
    alloc_free(prompts);
    return status;
}

static enum unstir_status write_origin(const struct unstir_generation *g,
                                       char **out, struct unstir_error *err)
{
    const struct unstir_model_info *info = &relay_first(g)->model->info;
    const struct unstir_model *refiner = g->relay.model;
    struct json_writer *w;

    TRY(json_writer_new(&w, err));
    json_open_object(w, NULL);
    json_put_string(w, "software", "unstir " UNSTIR_VERSION);
    json_put_string(w, "model_digest", info->digest);
    json_put_string(w, "fingerprint", info->fingerprint);
    if (refiner) {
        json_put_string(w, "refiner_digest", refiner->info.digest);
        json_put_string(w, "refiner_fingerprint", refiner->info.fingerprint);
    }
    json_put_int(w, "steps_taken", relay_progress(g).step);
    json_close(w);
    return json_finish(out, w, false, err);
}

enum unstir_status metadata_init(struct metadata *m,
                                 const struct unstir_generation *g,
                                 enum unstir_format format, bool is_brief,
                                 struct unstir_error *err)
{
    bool is_png = format == UNSTIR_FORMAT_PNG;

    *m = (struct metadata){0};
    if (!is_brief) {
        TRY(write_parameters(g, &m->parameters, err));
        TRY(generation_json(g, &m->request, err));
        TRY(write_origin(g, &m->origin, err));
        add(m, "parameters", m->parameters);
        add(m, "unstir", m->request);
        add(m, "unstir-origin", m->origin);
    }
    TRY(write_xmp(g, is_png ? NULL : m->request, m->origin, &m->xmp, err));
    add(m, "XML:com.adobe.xmp", m->xmp);
    return UNSTIR_OK;
}

void metadata_fini(struct metadata *m)
{
    alloc_free(m->parameters);
    alloc_free(m->request);
    alloc_free(m->origin);
    alloc_free(m->xmp);
    *m = (struct metadata){0};
}
