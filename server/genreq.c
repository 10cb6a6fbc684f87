/* genreq.c - the one internal form of "make an image".
 *
 * Three layers of checks, so that each is told once and all are told together:
 * the table (types, spelling, fixed limits), the service's own limits, and
 * the model (unstir_request_check).
 *
 * SPDX-License-Identifier: MIT
 */
#include "genreq.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "buf.h"
#include "genreq_body.h"
#include "models.h"
#include "service.h"

#define SHOWN_LABELS 16u /* as many are told with an unknown one             */

/* ---------------------------------------------------- the service's limits */

static void check_limits(const struct body *body, const struct config *config,
                         const struct jdoc *doc, struct problem *problem)
{
    double max_ttl_s = (double)config->max_ttl_ms / 1e3;
    char detail[96], nearest[32];

    if (body->n > config->max_n) {
        (void)snprintf(detail, sizeof detail,
                       "this server makes at most %" PRId64 " at one time",
                       config->max_n);
        (void)snprintf(nearest, sizeof nearest, "%" PRId64, config->max_n);
        problem_add(problem, "/n", detail, jdoc_text(doc, "/n", problem->arena),
                    nearest);
    }
    if (body->ttl_s > max_ttl_s) {
        (void)snprintf(detail, sizeof detail, "must be at most %g", max_ttl_s);
        (void)snprintf(nearest, sizeof nearest, "%g", max_ttl_s);
        problem_add(problem, "/ttl_s", detail,
                    jdoc_text(doc, "/ttl_s", problem->arena), nearest);
    }
}

/* ---------------------------------------------------------------- pictures */

/* Stands in the resolved request for a picture: the bytes are the genreq's. */
static const struct unstir_image picture = {1, 1, 1, NULL};

/* False without memory.  What is read already is taken. */
static bool read_upload(struct upload *out, const char *text,
                        struct intake_upload *in, const char *pointer,
                        const struct service *service, struct problem *problem)
{
    if (text == NULL)
        return true;
    if (!in->is_read)
        (void)upload_read(&in->upload, service->artifacts, text, in->why,
                          sizeof in->why);
    *out = in->upload;
    in->upload = (struct upload){0};
    if (out->blob != NULL)
        return true;
    if (in->why[0] != '\0')
        problem_add(problem, pointer,
                    mem_arena_printf(problem->arena, "%s", in->why), NULL,
                    NULL);
    return in->why[0] != '\0';
}

/* Likewise for latents. */
static const struct unstir_latents latents = {1, 1, 1, 1, NULL};

/* That there are values says that the shape is known; nobody looks at them. */
static struct unstir_latents latents_of(const struct upload *upload)
{
    void *values = upload->blob != NULL ? (void *)upload->blob->bytes : NULL;

    return (struct unstir_latents){upload->n_latents, upload->channels,
                                   upload->height, upload->width, values};
}

static struct unstir_image shape_of(const struct upload *upload)
{
    return (struct unstir_image){upload->width, upload->height,
                                 upload->channels, NULL};
}

/* --------------------------------------------------------------- the model */

struct check {
    const struct jdoc *doc;
    struct problem *problem;
    const char *label_pointer; /* where the label came from                 */
    bool is_label_told;
    const struct upload *init_image, *mask;
    const struct model *refiner;      /* NULL: none                           */
    const struct unstir_request *own; /* what it is told                     */
    struct clamped {
        const char *field;
        bool is_low, is_told;
    } clamped[4]; /* what the engine's fields cannot hold, see number()      */
    size_t n_clamped;
};

/* The engine's name of a field as the client wrote it. */
static const char *pointer_of(struct check *c, const char *field)
{
    const char *refiner =
        genreq_refiner_pointer(c->doc, field, c->problem->arena);

    if (refiner != NULL)
        return refiner;
    if (strcmp(field, "label") == 0 || strcmp(field, "class") == 0 ||
        strcmp(field, "class_id") == 0)
        return c->label_pointer;
    if (strcmp(field, "guidance") == 0 || strcmp(field, "guidance_scale") == 0)
        return jdoc_text(c->doc, "/guidance", c->problem->arena) != NULL
                   ? "/guidance"
                   : "/guidance_scale";
    if (strcmp(field, "image_guidance_scale") == 0 &&
        jdoc_text(c->doc, "/image_guidance", c->problem->arena) != NULL)
        return "/image_guidance";
    if (strcmp(field, "schedule") == 0 &&
        jdoc_text(c->doc, "/scheduler", c->problem->arena) != NULL)
        return "/scheduler";
    return mem_arena_printf(c->problem->arena, "/%s", field);
}

static void tell_clamped(struct check *c, struct clamped *clamped,
                         const char *nearest)
{
    char pointer[32], detail[64];

    clamped->is_told = true;
    (void)snprintf(pointer, sizeof pointer, "/%s", clamped->field);
    (void)snprintf(detail, sizeof detail, "must be at %s %s",
                   clamped->is_low ? "least" : "most", nearest);
    problem_add(c->problem, pointer, detail,
                jdoc_text(c->doc, pointer, c->problem->arena), nearest);
}

static void report(void *user, const char *field, const char *detail,
                   const char *nearest)
{
    struct check *c = user;
    const char *pointer = pointer_of(c, field);

    for (size_t i = 0; i < c->n_clamped; i++)
        if (strcmp(c->clamped[i].field, field) == 0 && nearest != NULL) {
            tell_clamped(c, &c->clamped[i], nearest);
            return;
        }

    if (strcmp(field, "init_latents") == 0)
        pointer = "/init_image";
    if (strcmp(pointer, "/init_image") == 0 || strcmp(field, "mask") == 0) {
        problem_add(c->problem, pointer, detail, NULL, NULL);
        return;
    }
    if (pointer == c->label_pointer) {
        if (c->is_label_told)
            return;
        c->is_label_told = true;
    }
    problem_add(c->problem, pointer != NULL ? pointer : "", detail,
                pointer != NULL ? jdoc_text(c->doc, pointer, c->problem->arena)
                                : NULL,
                nearest);
}

/* A whole number of the body for the engine's unsigned field, where 0 is "not
 * given".  What does not fit is moved to the nearest that does and noted: the
 * engine refuses it then, with the nearest value that the model takes.      */
static uint32_t number(int64_t value, const char *name, struct check *c)
{
    if (value >= 1 && value <= UINT32_MAX)
        return (uint32_t)value;
    if (value == NOT_GIVEN)
        return 0;
    c->clamped[c->n_clamped++] = (struct clamped){name, value < 1, false};
    return value < 1 ? 1 : UINT32_MAX;
}

/* 1 is a right value for some fields, but what was asked for was below it. */
static void tell_rest_of_clamped(struct check *c)
{
    for (size_t i = 0; i < c->n_clamped; i++)
        if (!c->clamped[i].is_told)
            tell_clamped(c, &c->clamped[i],
                         c->clamped[i].is_low ? "1" : "4294967295");
}

/* Is `name` a word, or some words, of `text`?  "a red bag" has "bag".       */
static bool has_words(const char *text, const char *name)
{
    size_t n = strlen(name);

    for (const char *at = text; n > 0 && (at = strcasestr(at, name)); at++)
        if ((at == text || !isalnum((unsigned char)at[-1])) &&
            !isalnum((unsigned char)at[n]))
            return true;
    return false;
}

static int nearest_label(const char *text, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has_words(text, names[i]))
            return (int)i;
    return n > 0 ? unstir_nearest(text, names, n) : -1;
}

/* "...; labels are t-shirt, trouser": all of them if they are few.          */
static const char *with_labels(const char *detail, const char *const *names,
                               size_t n, struct mem_arena *arena)
{
    const char *list = NULL;

    if (n == 0 || n > SHOWN_LABELS)
        return detail;
    for (size_t i = 0; i < n; i++)
        list = list != NULL
                   ? mem_arena_printf(arena, "%s, %.40s", list, names[i])
                   : names[i];
    list = mem_arena_printf(arena, "%s; labels are %s", detail,
                            list != NULL ? list : "");
    return list != NULL ? list : detail;
}

static bool is_whole_number(const char *text)
{
    const char *digits = text + (text[0] == '-');

    return digits[0] != '\0' && digits[strspn(digits, "0123456789")] == '\0';
}

static bool find_class(const struct model *model, const char *text,
                       int64_t *class_id, const char *pointer, struct check *c)
{
    const struct unstir_model_info *info = model->info;
    struct unstir_error error = {UNSTIR_OK, "", ""};
    const char *names[1024];
    size_t n = info->n_labels < 1024 ? info->n_labels : 1024;
    const char *near_text = NULL;
    int near_label;

    if (strcasecmp(text, "none") == 0 && info->null_class >= 0) {
        *class_id = UNSTIR_CLASS_NULL;
        return true;
    }
    if (unstir_model_find_class(model->described, text, class_id, &error) ==
        UNSTIR_OK)
        return true;
    for (size_t i = 0; i < n; i++)
        names[i] = info->labels[i].name;
    near_label = nearest_label(text, names, n);
    if (near_label >= 0)
        near_text = json_quote(c->problem->arena, names[near_label]);
    else if (is_whole_number(text))
        near_text = mem_arena_printf(c->problem->arena, "%u",
                                     text[0] == '-' ? 0 : info->n_classes - 1);
    problem_add(c->problem, pointer,
                with_labels(error.detail, names, n, c->problem->arena),
                jdoc_text(c->doc, pointer, c->problem->arena), near_text);
    return false;
}

/* Prompt and class say the same thing to a class-conditional model. */
static void resolve_class(const struct body *body, const struct model *model,
                          struct unstir_request *request, struct check *c)
{
    int64_t by_prompt = UNSTIR_CLASS_UNSET, by_class = UNSTIR_CLASS_UNSET;
    bool has_prompt = body->prompt != NULL && body->prompt[0] != '\0';
    bool is_good = true;

    if (model->info->takes_text) {
        if (body->class_name != NULL)
            problem_add(c->problem, "/class",
                        "this model has no classes; say it in the prompt",
                        jdoc_text(c->doc, "/class", c->problem->arena), NULL);
        return;
    }
    if (model->info->n_classes == 0) {
        const char *detail = "this model makes pictures of one kind only and "
                             "takes no prompt or class";

        if (has_prompt)
            problem_add(c->problem, "/prompt", detail,
                        jdoc_text(c->doc, "/prompt", c->problem->arena), NULL);
        if (body->class_name != NULL)
            problem_add(c->problem, "/class", detail,
                        jdoc_text(c->doc, "/class", c->problem->arena), NULL);
        return;
    }
    if (has_prompt)
        is_good = find_class(model, body->prompt, &by_prompt, "/prompt", c);
    if (body->class_name != NULL)
        is_good &= find_class(model, body->class_name, &by_class, "/class", c);
    if (is_good && has_prompt && body->class_name != NULL &&
        by_prompt != by_class)
        problem_add(c->problem, "/class",
                    "is another class than the prompt's; give one of the two",
                    jdoc_text(c->doc, "/class", c->problem->arena), NULL);
    request->class_id = body->class_name != NULL ? by_class : by_prompt;
}

/* The default changes nothing for models that read no text: let it pass. */
static const char *syntax_of(const struct body *body, const struct model *model)
{
    bool is_default = body->prompt_syntax != NULL &&
                      strcmp(body->prompt_syntax, "weighted") == 0;

    return is_default && !model->info->takes_text ? NULL : body->prompt_syntax;
}

static enum unstir_preview_decoder decoder_of(const char *name)
{
    int i = 0;

    while (name != NULL && i + 1 < UNSTIR_N_PREVIEW_DECODERS &&
           strcmp(unstir_preview_decoder_name((enum unstir_preview_decoder)i),
                  name) != 0)
        i++;
    return (enum unstir_preview_decoder)i;
}

static bool lacks_tiny(const struct model *model)
{
    return model->info->autoencoder != NULL && !model->info->has_tiny_decoder;
}

/* Of pixel models previews are the pictures, whatever is said. */
static void check_preview(const struct body *body, const struct model *model,
                          struct check *c)
{
    if (decoder_of(body->preview.decoder) == UNSTIR_PREVIEW_TINY &&
        (lacks_tiny(model) || (c->refiner != NULL && lacks_tiny(c->refiner))))
        problem_add(c->problem, "/preview/decoder",
                    "this model has no tiny decoder: one is served with "
                    "--tiny-decoder, or as vae_tiny in the model's folder",
                    "\"tiny\"", "\"matrix\"");
}

/* What is wrong goes to report(). */
static void check_request(const struct model *model,
                          const struct unstir_request *request,
                          struct unstir_request resolved[2], struct check *c)
{
    if (c->refiner == NULL) {
        (void)unstir_request_check(model->described, request, resolved, report,
                                   c, NULL);
        return;
    }
    const struct unstir_refiner refiner = {c->refiner->described, c->own};

    (void)unstir_request_check_refined(model->described, &refiner, request,
                                       resolved, report, c, NULL);
}

/* Both are in memory at one time. */
static void check_room(const struct model *model, struct check *c)
{
    char detail[200];

    if (c->refiner == NULL ||
        models_fit_together(model, c->refiner, detail, sizeof detail))
        return;
    problem_add(c->problem, "/refiner", detail,
                jdoc_text(c->doc, "/refiner", c->problem->arena), NULL);
}

/* Of one tensor all pictures take it, of more each its own. */
static void check_uploads(const struct body *body, struct check *c)
{
    uint32_t n = c->init_image->n_latents;

    if (c->mask->n_latents > 0)
        problem_add(c->problem, "/mask", "holds latents; a mask is a picture",
                    NULL, NULL);
    if (n > 1 && body->n > n)
        problem_add(
            c->problem, "/init_image",
            mem_arena_printf(c->problem->arena,
                             "holds latents of %u pictures, and %" PRId64
                             " are to be made",
                             n, body->n),
            NULL, NULL);
}

/* One that was given and could not be read has been told of. */
static void begin_in(struct unstir_request *request, const struct body *body,
                     const struct check *c, const struct unstir_image *init,
                     const struct unstir_latents *init_latents)
{
    if (c->init_image->n_latents > 0)
        request->init_latents = init_latents;
    else if (c->init_image->blob != NULL)
        request->init_image = init;
    else if (body->init_image != NULL)
        request->init_image = &picture;
}

static void check_model(const struct body *body, struct model *model,
                        struct unstir_request resolved[2], struct check *c)
{
    struct unstir_request request = UNSTIR_REQUEST_INIT;
    const char *precision = body->precision;
    struct unstir_image init = shape_of(c->init_image);
    struct unstir_image mask = shape_of(c->mask);
    struct unstir_latents init_latents = latents_of(c->init_image);

    begin_in(&request, body, c, &init, &init_latents);
    check_uploads(body, c);
    request.mask = c->mask->blob != NULL ? &mask : NULL;
    if (body->has_strength)
        request.strength = body->strength;
    resolve_class(body, model, &request, c);
    if (model->info->takes_text)
        request.prompt = body->prompt;
    request.negative_prompt = body->negative_prompt;
    request.prompt_syntax = syntax_of(body, model);
    request.clip_skip = number(body->clip_skip, "clip_skip", c);
    request.deep_cache = number(body->deep_cache, "deep_cache", c);
    request.steps = number(body->steps, "steps", c);
    request.width = number(body->width, "width", c);
    request.height = number(body->height, "height", c);
    request.seed = body->seed;
    request.variation_seed = body->variation_seed;
    request.variation_strength = body->variation_strength;
    request.sampler = body->sampler;
    request.schedule = body->schedule;
    request.guidance = body->guidance;
    request.image_guidance = body->image_guidance;
    request.guidance_rescale = body->guidance_rescale;
    request.guidance_start = body->guidance_start;
    request.guidance_end = body->guidance_end;
    request.eta = body->eta;
    request.denoising_start = body->denoising_start;
    request.denoising_end = body->denoising_end;
    request.micro = genreq_micro(&body->micro);
    request.negative_micro = genreq_micro(&body->negative_micro);
    request.aesthetic_score = body->aesthetic_score;
    request.negative_aesthetic_score = body->negative_aesthetic_score;
    check_request(model, &request, resolved, c);
    check_room(model, c);
    resolved->init_image = request.init_image != NULL ? &picture : NULL;
    resolved->init_latents = request.init_latents != NULL ? &latents : NULL;
    resolved->mask = request.mask != NULL ? &picture : NULL;
    tell_rest_of_clamped(c);
    check_preview(body, model, c);
    if (precision != NULL && strcmp(precision, "auto") != 0 &&
        strcmp(precision, model->info->precision) != 0)
        problem_add(c->problem, "/precision",
                    "this server runs the model in another precision",
                    json_quote(c->problem->arena, precision),
                    json_quote(c->problem->arena, model->info->precision));
}

/* ----------------------------------------------------------------- reading */

static uint64_t draw_seed(void)
{
    uint64_t seed = 0;

    /* Below 2^53: a number in every JSON reader.  Fails only before the
     * kernel's pool is ready; 0 is a seed like any other. */
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = 0;
    return seed & ((UINT64_C(1) << 53) - 1);
}

/* Unknown to the table because of their kinds (a list, an object). */
static void rename_unknown(struct problem *problem)
{
    size_t n = problem->n_violations < PROBLEM_MAX_VIOLATIONS
                   ? problem->n_violations
                   : PROBLEM_MAX_VIOLATIONS;

    for (size_t i = 0; i < n; i++) {
        struct problem_violation *v = &problem->violations[i];

        if (strcmp(v->pointer, "/webhook") == 0) {
            v->detail = "is not supported by this server";
            v->nearest = NULL;
        }
    }
}

static struct model *find_model(const struct models *models,
                                const struct body *body, const struct jdoc *doc,
                                struct problem *problem)
{
    struct model *model = models_find(models, body->model);
    const char *nearest;

    if (model != NULL)
        return model;
    nearest = models_nearest(models, body->model);
    problem_add(problem, "/model", "there is no such model here",
                jdoc_text(doc, "/model", problem->arena),
                nearest != NULL ? json_quote(problem->arena, nearest) : NULL);
    return NULL;
}

static bool is_usable(const struct model *model, bool is_named,
                      struct problem *problem)
{
    char why[512];

    if (model->described != NULL && model->state != MODEL_FAILED)
        return true; /* a job waits until it is loaded */
    problem->code =
        model->state == MODEL_LOADING ? ERROR_LOADING : ERROR_NO_MODEL;
    model_say_unusable(model, is_named, why, sizeof why);
    problem_detail(problem, "%s", why);
    return false;
}

static bool copy_text(char **out, const char *text)
{
    *out = text != NULL ? mem_strdup(text) : NULL;
    return text == NULL || *out != NULL;
}

static bool wants_latents(const struct body *body)
{
    const char *format = body->output.format;

    return format != NULL && strcmp(format, GENREQ_LATENTS) == 0;
}

const char *genreq_format(const struct genreq *req)
{
    return req->wants_latents ? GENREQ_LATENTS
                              : unstir_format_info(req->file.format)->name;
}

const char *genreq_media_type(const struct genreq *req)
{
    return req->wants_latents
               ? GENREQ_LATENTS_TYPE
               : unstir_format_info(req->file.format)->media_type;
}

static enum unstir_format format_of(const char *name)
{
    int i = 0;

    while (name != NULL && i + 1 < UNSTIR_N_FORMATS &&
           strcmp(unstir_format_info((enum unstir_format)i)->name, name) != 0)
        i++;
    return (enum unstir_format)i;
}

/* Beside the rest, which is filled already.  False without memory. */
static bool fill_refined(struct genreq *out, struct model *refiner,
                         const struct unstir_request *resolved)
{
    struct genreq_refined *r = &out->refined;

    if (refiner == NULL)
        return true;
    out->refiner = refiner;
    r->resolved = *resolved;
    r->steps = unstir_request_steps(refiner->described, resolved);
    r->evaluations = unstir_request_evaluations(refiner->described, resolved);
    out->steps += r->steps;
    if (!copy_text(&r->negative_prompt, resolved->negative_prompt))
        return false;
    r->resolved.prompt = out->resolved.prompt;
    r->resolved.negative_prompt = r->negative_prompt;
    return true;
}

static bool fill(struct genreq *out, const struct body *body,
                 struct model *model, struct model *refiner,
                 const struct unstir_request *resolved,
                 const struct genreq_options *options,
                 const struct config *config)
{
    const char *on_disconnect = body->on_disconnect;

    *out = (struct genreq){
        .model = model,
        .resolved = *resolved,
        .steps = unstir_request_steps(model->described, resolved),
        .evaluations = unstir_request_evaluations(model->described, resolved),
        .has_own_seed = body->has_seed,
        .has_own_variation = body->has_variation_seed,
        .n = (uint32_t)body->n,
        .deadline_s = body->deadline_s,
        .ttl_s = body->has_ttl ? body->ttl_s : (double)config->ttl_ms / 1e3,
        .priority = (int)body->priority,
        .continues_on_disconnect = on_disconnect != NULL
                                       ? strcmp(on_disconnect, "continue") == 0
                                       : options->continues_default,
        .has_metadata = body->output.metadata,
        .wants_latents = wants_latents(body),
        .has_own_format = body->output.format != NULL,
        .file = {.format = wants_latents(body) ? UNSTIR_FORMAT_PNG
                                               : format_of(body->output.format),
                 .png_level =
                     body->output.has_level ? (int)body->output.png_level : -1,
                 .quality = (int)body->output.quality},
        .has_previews = true,
        .preview_every = (uint32_t)body->preview.every,
        .preview_max_edge = (uint32_t)body->preview.max_edge,
        .preview_file = {.format = format_of(body->preview.format),
                         .png_level = -1,
                         .quality = (int)body->preview.quality},
        .preview_decoder = decoder_of(body->preview.decoder),
        .keeps_previews = body->preview.keep};
    if (!body->has_seed)
        out->resolved.seed = draw_seed();
    if (resolved->variation_strength > 0 && !body->has_variation_seed)
        out->resolved.variation_seed = draw_seed();
    if (copy_text(&out->prompt, body->prompt) &&
        copy_text(&out->negative_prompt, resolved->negative_prompt) &&
        copy_text(&out->tag, body->tag)) {
        if (resolved->prompt != NULL && out->prompt != NULL)
            out->resolved.prompt = out->prompt;
        out->resolved.negative_prompt = out->negative_prompt;
        if (fill_refined(out, refiner, &resolved[1]))
            return true;
    }
    out->model = NULL; /* the caller's, still */
    genreq_fini(out);
    return false;
}

/* Check the body against its model with its LoRAs, which is returned, for the
 * caller to release; NULL if there is none.  Texts cannot be checked against a
 * model that lacks a LoRA: they name it. */
static struct model *check_with_loras(struct body *body, struct model *model,
                                      const struct service *service,
                                      struct unstir_request resolved[2],
                                      struct check *c)
{
    struct model *with =
        genreq_with_loras(body, model, service, c->doc, c->problem);

    if (with == NULL && model->info->takes_text)
        body->prompt = body->negative_prompt = NULL;
    check_model(body, with != NULL ? with : model, resolved, c);
    return with;
}

bool genreq_read(struct genreq *out, struct service *service, struct intake *in,
                 const struct genreq_options *options, struct problem *problem)
{
    const struct jdoc *doc = in->doc;
    struct body body = {.n = 1,
                        .steps = NOT_GIVEN,
                        .width = NOT_GIVEN,
                        .height = NOT_GIVEN,
                        .clip_skip = NOT_GIVEN,
                        .deep_cache = NOT_GIVEN,
                        .guidance = UNSTIR_UNSET_F,
                        .image_guidance = UNSTIR_UNSET_F,
                        .guidance_rescale = UNSTIR_UNSET_F,
                        .guidance_start = UNSTIR_UNSET_F,
                        .guidance_end = UNSTIR_UNSET_F,
                        .eta = UNSTIR_UNSET_F,
                        .aesthetic_score = UNSTIR_UNSET_F,
                        .negative_aesthetic_score = UNSTIR_UNSET_F,
                        .output = {.metadata = true},
                        .preview = {.every = 1, .keep = true}};
    struct unstir_request resolved[2] = {UNSTIR_REQUEST_INIT,
                                         UNSTIR_REQUEST_INIT};
    struct unstir_request own;
    struct upload init_image = {0}, mask = {0};
    struct check c = {.doc = doc,
                      .problem = problem,
                      .init_image = &init_image,
                      .mask = &mask};
    struct model *model, *refiner, *with = NULL;
    bool is_good, is_known;

    memset(out, 0, sizeof *out);
    if (!jdoc_read(doc, genreq_fields, &body, options->is_lenient, problem))
        rename_unknown(problem);
    check_limits(&body, service->config, doc, problem);
    is_good =
        read_upload(&init_image, body.init_image, &in->init_image,
                    "/init_image", service, problem) &&
        read_upload(&mask, body.mask, &in->mask, "/mask", service, problem);
    c.label_pointer = body.class_name != NULL ? "/class" : "/prompt";
    model = find_model(service->models, &body, doc, problem);
    refiner = genreq_refiner(&body, service->models, doc, problem, &own);
    is_known = refiner == NULL || refiner->described != NULL;
    c.refiner = is_known ? refiner : NULL;
    c.own = &own;
    if (model != NULL && model->described != NULL)
        with = check_with_loras(&body, model, service, resolved, &c);
    if (is_good && (problem->n_violations > 0 ||
                    !is_usable(model, body.model != NULL, problem) ||
                    (refiner != NULL && !is_usable(refiner, true, problem))))
        goto out;
    is_good =
        is_good && with != NULL &&
        fill(out, &body, with, refiner, resolved, options, service->config);
    if (is_good) {
        out->init_image = init_image;
        out->mask = mask;
        return true;
    }
    problem->code = ERROR_NO_MEMORY;
out:
    if (with != NULL)
        model_release(with);
    upload_fini(&init_image);
    upload_fini(&mask);
    return false;
}

double genreq_cost_s(const struct genreq *req, double pictures)
{
    const struct unstir_request *r = &req->resolved;
    double n_decoded = req->wants_latents ? 0 : pictures;
    double of_base = cost_predict(model_cost(req->model), r->width, r->height,
                                  req->evaluations * pictures,
                                  req->refiner != NULL ? 0 : n_decoded);

    if (req->refiner == NULL)
        return of_base;
    return of_base + cost_predict(model_cost(req->refiner), r->width, r->height,
                                  req->refined.evaluations * pictures,
                                  n_decoded);
}

void genreq_drop_pictures(struct genreq *req)
{
    upload_fini(&req->init_image);
    upload_fini(&req->mask);
}

void genreq_fini(struct genreq *req)
{
    genreq_drop_pictures(req);
    if (req->model != NULL)
        model_release(req->model);
    mem_free(req->prompt);
    mem_free(req->negative_prompt);
    mem_free(req->refined.negative_prompt);
    mem_free(req->tag);
    memset(req, 0, sizeof *req);
}
