/* generate.c - `unstir generate`: pictures on this machine, no server.
 *
 * SPDX-License-Identifier: MIT
 */
#include "generate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "commands.h"
#include "opts_machine.h"
#include "opts_parts.h"
#include "output.h"
#include "pictures.h"

#define MAX_PROMPT_BYTES 8192

/* -- prompts --------------------------------------------------------------- */

static void free_prompts(struct generate_job *job)
{
    for (size_t i = 0; i < job->n_prompts; i++)
        free(job->prompts[i]);
    free(job->prompts);
}

static int no_memory(void)
{
    cli_error("out of memory");
    return CLI_LIMIT;
}

static int add_prompt(struct generate_job *job, const char *text)
{
    char **grown =
        realloc(job->prompts, (job->n_prompts + 1) * sizeof(*job->prompts));
    if (!grown)
        return no_memory();
    job->prompts = grown;
    job->prompts[job->n_prompts] = text ? strdup(text) : NULL;
    if (text && !job->prompts[job->n_prompts])
        return no_memory();
    job->n_prompts++;
    return CLI_OK;
}

/* Lines of a file; empty ones and those of blanks are passed over. */
static int read_prompts(struct generate_job *job, const char *name, FILE *f)
{
    char line[MAX_PROMPT_BYTES + 2];
    while (fgets(line, sizeof(line), f)) {
        size_t n = strcspn(line, "\r\n");
        if (n > MAX_PROMPT_BYTES) {
            cli_error("%s: a line of more than %d bytes", name,
                      MAX_PROMPT_BYTES);
            return CLI_LIMIT;
        }
        line[n] = '\0';
        if (line[strspn(line, " \t")] == '\0')
            continue;
        if (job->n_prompts == GENERATE_MAX_PICTURES) {
            cli_error("%s: more than %u prompts", name, GENERATE_MAX_PICTURES);
            return CLI_LIMIT;
        }
        int rc = add_prompt(job, line);
        if (rc != CLI_OK)
            return rc;
    }
    if (ferror(f)) {
        cli_error("%s: cannot read", name);
        return CLI_FAILED;
    }
    if (job->n_prompts == 0) {
        cli_error("%s: holds no prompt", name);
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int collect_prompts(struct generate_job *job)
{
    const char *prompt = job->v->prompt;
    if (!prompt || (prompt[0] != '@' && strcmp(prompt, "-") != 0))
        return add_prompt(job, prompt);
    if (strcmp(prompt, "-") == 0)
        return read_prompts(job, "stdin", stdin);
    FILE *f = fopen(prompt + 1, "r");
    if (!f) {
        cli_error("%s: %s", prompt + 1, strerror(errno));
        return CLI_FAILED;
    }
    int rc = read_prompts(job, prompt + 1, f);
    (void)fclose(f); /* only read */
    return rc;
}

/* -- checks before work ---------------------------------------------------- */

static int list_samplers(void)
{
    size_t n;
    const struct unstir_sampler_info *s = unstir_samplers(&n);
    for (size_t i = 0; i < n; i++)
        printf("%-12s %s, order %u, %s%s%s%s%s\n", s[i].name, s[i].title,
               s[i].order, s[i].source,
               s[i].is_stochastic ? ", draws fresh noise" : "",
               s[i].alias[0] ? " (also: " : "", s[i].alias,
               s[i].alias[0] ? ")" : "");
    return CLI_OK;
}

static int list_schedules(void)
{
    size_t n;
    const struct unstir_schedule_info *s = unstir_schedules(&n);
    for (size_t i = 0; i < n; i++)
        printf("%-20s %s%s%s%s\n", s[i].name, s[i].title,
               s[i].alias[0] ? " (also: " : "", s[i].alias,
               s[i].alias[0] ? ")" : "");
    printf("%-20s the model's own\n", "default");
    return CLI_OK;
}

static bool is_word_of(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p;) {
        size_t m = strcspn(p, ", ");
        if (m == n && strncmp(p, word, n) == 0)
            return true;
        p += m;
        p += strspn(p, ", ");
    }
    return false;
}

static int check_sampler(const char *name)
{
    size_t n;
    const struct unstir_sampler_info *s = unstir_samplers(&n);
    if (!name || unstir_sampler_find(name) >= 0)
        return CLI_OK;
    int near = unstir_sampler_nearest(name);
    cli_error("--sampler %.80s: unknown%s%s%s (--sampler help lists all)", name,
              near >= 0 ? "; did you mean " : "", near >= 0 ? s[near].name : "",
              near >= 0 ? "?" : "");
    return CLI_USAGE;
}

static int check_schedule(const char *name)
{
    const char *names[64] = {"default"};
    size_t n;
    const struct unstir_schedule_info *s = unstir_schedules(&n);
    if (!name || strcasecmp(name, "default") == 0 ||
        strcasecmp(name, "automatic") == 0 || unstir_schedule_find(name) >= 0)
        return CLI_OK;
    for (size_t i = 0; i < n && i < 63; i++)
        names[i + 1] = s[i].name;
    return opts_unknown_value("--schedule", name, names, n < 63 ? n + 1 : 64);
}

static int check_isa(const char *isa)
{
    const char *const known[] = {"scalar", "portable", "avx2", "avx512vnni",
                                 "avx512bf16"};
    if (!isa || is_word_of(unstir_cpu_rungs(), isa))
        return CLI_OK;
    int near = unstir_nearest(isa, known, 5);
    cli_error("--isa %s: this CPU runs %s%s%s%s", isa, unstir_cpu_rungs(),
              near >= 0 ? "; did you mean " : "", near >= 0 ? known[near] : "",
              near >= 0 ? "?" : "");
    return CLI_USAGE;
}

/* A state carries its own request. */
static int check_resume(const struct generate_values *v)
{
    static const char *const fixed[] = {"prompt",
                                        "class",
                                        "count",
                                        "seed",
                                        "steps",
                                        "sampler",
                                        "schedule",
                                        "guidance",
                                        "guidance-rescale",
                                        "guidance-start",
                                        "guidance-end",
                                        "eta",
                                        "width",
                                        "height",
                                        "raw-steps",
                                        "timeline",
                                        "animate",
                                        "init",
                                        "strength",
                                        "mask",
                                        "negative",
                                        "clip-skip",
                                        "prompt-syntax",
                                        "variation-seed",
                                        "variation-strength",
                                        "denoising-start",
                                        "denoising-end",
                                        "original-size",
                                        "crop-at",
                                        "target-size",
                                        "negative-original-size",
                                        "negative-crop-at",
                                        "negative-target-size",
                                        "aesthetic-score",
                                        "negative-aesthetic-score",
                                        "image-guidance"};
    for (size_t i = 0; i < sizeof(fixed) / sizeof(*fixed); i++)
        if (opts_is_given(&command_generate, v, fixed[i])) {
            cli_error("--%s cannot go with --resume: the state has its own",
                      fixed[i]);
            return CLI_USAGE;
        }
    return CLI_OK;
}

/* Names of pictures, read and written. */
static int check_picture_files(const struct generate_values *v)
{
    const char *const sheets[] = {v->grid, v->timeline};
    enum unstir_format format;
    for (size_t i = 0; i < sizeof(sheets) / sizeof(*sheets); i++) {
        int rc = sheets[i] ? picture_format(sheets[i], &format) : CLI_OK;
        if (rc != CLI_OK)
            return rc;
    }
    if (v->animate && !picture_is_film(v->animate)) {
        cli_error("%s: films are written as .webp", v->animate);
        return CLI_USAGE;
    }
    if (!v->init && v->mask) {
        cli_error("--mask needs --init IMG");
        return CLI_USAGE;
    }
    if (!v->init && v->denoising_start > 0) {
        cli_error("--denoising-start needs --init FILE, with the noise of "
                  "there");
        return CLI_USAGE;
    }
    if (!v->init && opts_is_given(&command_generate, v, "strength")) {
        cli_error("--strength needs --init IMG");
        return CLI_USAGE;
    }
    return CLI_OK;
}

static int check_values(const struct generate_values *v)
{
    const char *const files[] = {v->grid, v->timeline, v->animate, v->raw,
                                 v->save_state};
    bool stops = opts_is_given(&command_generate, v, "stop-after");
    int wrong = check_picture_files(v);
    if (wrong != CLI_OK)
        return wrong;
    for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
        int rc = files[i] ? output_check(files[i], v->is_forced) : CLI_OK;
        if (rc != CLI_OK)
            return rc;
    }
    if (opts_is_given(&command_generate, v, "variation-seed") &&
        !(v->variation_strength > 0)) {
        cli_error("--variation-seed needs a --variation-strength above 0");
        return CLI_USAGE;
    }
    if (v->wants_raw_steps && !v->raw) {
        cli_error("--raw-steps needs --raw FILE");
        return CLI_USAGE;
    }
    if (stops && !v->save_state) {
        cli_error("--stop-after needs --save-state FILE");
        return CLI_USAGE;
    }
    if (v->class && v->prompt) {
        cli_error("--class and --prompt both say what to paint; give one");
        return CLI_USAGE;
    }
    int rc = v->resume ? check_resume(v) : CLI_OK;
    if (rc == CLI_OK)
        rc = check_sampler(v->sampler);
    if (rc == CLI_OK)
        rc = check_schedule(v->schedule);
    return rc == CLI_OK ? check_isa(v->isa) : rc;
}

/* -- planning -------------------------------------------------------------- */

static int open_one(struct generate_job *job, struct unstir_model **model,
                    const char *given, const struct unstir_model_options *o)
{
    const struct generate_values *v = job->v;
    struct unstir_error err = {0};
    double start = cli_now_s();
    const char *path;
    int rc = cli_find_model(&path, given);
    if (rc != CLI_OK)
        return rc;
    if (!path) {
        cli_error("no model: give -m PATH or set UNSTIR_MODEL");
        return CLI_USAGE;
    }
    if (unstir_model_open(model, path, o, &err) != UNSTIR_OK)
        return cli_fail(&err);
    double load_ms = 1e3 * (cli_now_s() - start);
    job->load_ms += load_ms;
    const struct unstir_model_info *info = unstir_model_info(*model);
    for (size_t i = 0; i < info->n_notes && v->common.is_verbose; i++)
        cli_note("note: %s", info->notes[i]);
    if (v->common.is_verbose)
        cli_note("%s: %s, %llu parameters, %s %s, loaded in %.0f ms (packs %s)",
                 info->id, info->family, (unsigned long long)info->n_parameters,
                 info->isa, info->precision, load_ms, info->packs);
    return CLI_OK;
}

static int open_executor(struct generate_job *job)
{
    const struct generate_values *v = job->v;
    struct unstir_error err = {0};
    struct unstir_executor_options x = {.n_threads = v->threads,
                                        .pin = opts_pin(v->pin)};
    if (unstir_executor_new(&job->executor, &x, &err) != UNSTIR_OK)
        return cli_fail(&err);
    if (v->common.is_verbose)
        cli_note("%u threads", unstir_executor_threads(job->executor));
    return CLI_OK;
}

/* Parts that options name are the base's; a refiner decodes as it does. */
static int open_models(struct generate_job *job)
{
    const struct generate_values *v = job->v;
    struct unstir_model_options o = {
        .isa = v->isa,
        .pack_cache = v->pack_cache ? v->pack_cache : "auto",
        .low_memory = v->low_memory,
        .tiny_decoder = v->tiny_decoder,
        .merges_path = cli_shared_file("clip-bpe/merges.txt")};
    o.precision = opts_precision(v->precision);
    int rc = opts_parts(&o, v->vae, &v->text_encoders);
    if (rc != CLI_OK)
        return rc;
    rc = open_one(job, &job->model, v->model, &o);
    o.text_encoders[0] = o.text_encoders[1] = NULL;
    if (rc == CLI_OK && v->refiner)
        rc = open_one(job, &job->refiner, v->refiner, &o);
    return rc == CLI_OK ? open_executor(job) : rc;
}

/* Of one tensor all pictures take it, of more each its own. */
static int plan_latents(const struct generate_job *job, struct picture *p,
                        uint32_t i, struct unstir_request *r)
{
    const struct unstir_latents *l = &job->latents;
    if (!l->values)
        return CLI_OK;
    if (l->n > 1 && i >= l->n) {
        cli_error("--init %s: latents of %u pictures, and %u are to be made",
                  job->v->init, l->n, job->v->count);
        return CLI_USAGE;
    }
    size_t one = (size_t)l->channels * l->height * l->width;
    p->latents = *l;
    p->latents.n = 1;
    p->latents.values += l->n > 1 ? i * one : 0;
    r->init_latents = &p->latents;
    return CLI_OK;
}

static int plan_picture(struct generate_job *job, struct picture *p,
                        const char *prompt, uint32_t i)
{
    const struct generate_values *v = job->v;
    struct unstir_request r = UNSTIR_REQUEST_INIT;
    r.label = v->class;
    r.prompt = prompt;
    r.negative_prompt = v->negative;
    r.clip_skip = v->clip_skip;
    r.deep_cache = v->deep_cache;
    r.prompt_syntax = v->prompt_syntax;
    if (v->class && strcmp(v->class, "none") == 0) {
        r.label = NULL;
        r.class_id = UNSTIR_CLASS_NULL;
    }
    r.seed = v->seed;
    r.variation_seed = v->variation_seed;
    r.variation_strength = v->variation_strength;
    unstir_request_picture(&r, i);
    r.steps = v->steps;
    r.width = v->width;
    r.height = v->height;
    r.sampler = v->sampler;
    r.schedule = v->schedule;
    if (opts_is_given(&command_generate, v, "guidance"))
        r.guidance = v->guidance;
    if (opts_is_given(&command_generate, v, "image-guidance"))
        r.image_guidance = v->image_guidance;
    if (opts_is_given(&command_generate, v, "guidance-rescale"))
        r.guidance_rescale = v->guidance_rescale;
    if (opts_is_given(&command_generate, v, "guidance-start"))
        r.guidance_start = v->guidance_start;
    if (opts_is_given(&command_generate, v, "guidance-end"))
        r.guidance_end = v->guidance_end;
    if (opts_is_given(&command_generate, v, "eta"))
        r.eta = v->eta;
    if (opts_is_given(&command_generate, v, "strength"))
        r.strength = v->strength;
    r.init_image = job->init.pixels ? &job->init : NULL;
    r.mask = job->mask.pixels ? &job->mask : NULL;
    r.denoising_start = v->denoising_start;
    r.denoising_end = v->denoising_end;
    int rc = plan_latents(job, p, i, &r);
    if (rc == CLI_OK)
        rc = generate_micro(v, &r);
    p->request = r;
    return rc;
}

/* "; it has t-shirt, trouser, ..." */
static void list_labels(char *text, size_t size,
                        const struct unstir_model_info *info)
{
    size_t at = 0;
    for (size_t i = 0; i < info->n_labels && at + 80 < size; i++) {
        bool is_last = at + 160 > size && i + 1 < info->n_labels;
        snprintf(text + at, size - at, "%s%.60s%s", i > 0 ? ", " : "; it has ",
                 info->labels[i].name, is_last ? ", ..." : "");
        at = strlen(text);
    }
}

/* Every violation has its line, with the nearest value that would do. */
static void tell_violation(void *user, const char *field, const char *detail,
                           const char *nearest)
{
    const struct generate_job *job = user;
    const struct generate_values *v = job->v;
    bool is_class = strcmp(field, "class") == 0;
    bool is_prompt = is_class && !v->class && v->prompt;
    bool is_refiner = strncmp(field, "refiner.", 8) == 0;
    char more[600] = "";
    if (!nearest && is_class)
        list_labels(more, sizeof(more), unstir_model_info(job->model));
    else if (nearest && !strstr(detail, "did you mean"))
        snprintf(more, sizeof(more), "; nearest: %s", nearest);
    cli_error("--%s: %s%s",
              is_prompt    ? "prompt"
              : is_refiner ? "refiner"
                           : cli_option_of(field),
              detail, more);
}

static int check_request(struct generate_job *job, struct picture *p)
{
    const struct unstir_model_info *info = unstir_model_info(job->model);
    const struct unstir_refiner refiner = {job->refiner, NULL};
    struct unstir_request resolved[2];
    struct unstir_error err = {0};
    if ((p->request.label || p->request.prompt) && info->n_classes == 0 &&
        !info->takes_text) {
        cli_error("--%s: %s has no classes and takes no text",
                  job->v->class ? "class" : "prompt", info->id);
        return CLI_USAGE;
    }
    enum unstir_status status =
        job->refiner
            ? unstir_request_check_refined(job->model, &refiner, &p->request,
                                           resolved, tell_violation, job, &err)
            : unstir_request_check(job->model, &p->request, resolved,
                                   tell_violation, job, &err);
    if (status == UNSTIR_ERR_ARG)
        return CLI_USAGE;
    if (status != UNSTIR_OK)
        return cli_fail(&err);
    job->steps = unstir_request_steps(job->model, &resolved[0]);
    if (job->refiner)
        job->steps += unstir_request_steps(job->refiner, &resolved[1]);
    return CLI_OK;
}

static int plan(struct generate_job *job)
{
    const struct generate_values *v = job->v;
    size_t n = (size_t)v->count * job->n_prompts;
    if (n > GENERATE_MAX_PICTURES) {
        cli_error("%zu pictures, at most %u", n, GENERATE_MAX_PICTURES);
        return CLI_LIMIT;
    }
    if ((v->save_state || v->resume) && n != 1) {
        cli_error("--save-state and --resume are for one picture, not %zu", n);
        return CLI_USAGE;
    }
    job->pictures = calloc(n, sizeof(*job->pictures));
    if (!job->pictures)
        return no_memory();
    job->n = n;
    for (size_t i = 0; i < n; i++) {
        int rc =
            plan_picture(job, &job->pictures[i], job->prompts[i / v->count],
                         (uint32_t)(i % v->count));
        /* Pictures of one prompt differ in their seed and latents alone. */
        if (rc == CLI_OK && !v->resume && i % v->count == 0)
            rc = check_request(job, &job->pictures[i]);
        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

/* -- the command ----------------------------------------------------------- */

/* Ends the array before it, begins its own. */
static void put_seeds(const struct generate_job *job, const char *key,
                      size_t offset)
{
    printf("],\"%s\":[", key);
    for (size_t i = 0; i < job->n_done; i++) {
        const char *request = (const char *)&job->pictures[i].request;
        uint64_t seed;
        memcpy(&seed, request + offset, sizeof(seed));
        fputs(i > 0 ? "," : "", stdout);
        cli_json_u64(stdout, seed);
    }
}

static void print_json(const struct generate_job *job)
{
    fputs("{\"files\":[", stdout);
    for (size_t i = 0; i < job->n_done; i++) {
        fputs(i > 0 ? "," : "", stdout);
        cli_json_string(stdout, job->pictures[i].file);
    }
    put_seeds(job, "seeds", offsetof(struct unstir_request, seed));
    if (job->pictures[0].request.variation_strength > 0)
        put_seeds(job, "variation_seeds",
                  offsetof(struct unstir_request, variation_seed));
    printf("],\"steps\":%u,\"model\":", job->steps);
    cli_json_string(stdout, unstir_model_info(job->model)->id);
    if (job->refiner) {
        fputs(",\"refiner\":", stdout);
        cli_json_string(stdout, unstir_model_info(job->refiner)->id);
    }
    printf(",\"ms\":{\"load\":%.1f,\"text\":%.1f,\"denoise\":%.1f,"
           "\"decode\":%.1f,\"encode\":%.1f}}\n",
           job->load_ms, job->text_ms,
           job->denoise_ms - job->text_ms - job->decode_ms, job->decode_ms,
           job->encode_ms);
}

static void job_fini(struct generate_job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        unstir_generation_free(job->pictures[i].generation);
        unstir_image_fini(&job->pictures[i].image);
        free(job->pictures[i].file);
    }
    free(job->pictures);
    for (size_t i = 0; i < job->n_frames; i++)
        unstir_image_fini(&job->frames[i]);
    free(job->frames);
    unstir_image_fini(&job->init);
    unstir_image_fini(&job->mask);
    unstir_latents_fini(&job->latents);
    raw_fini(&job->raw);
    free_prompts(job);
    unstir_executor_free(job->executor);
    unstir_model_close(job->model);
    unstir_model_close(job->base);
    unstir_model_close(job->refiner);
}

int generate_main(int argc, char **argv)
{
    struct generate_values v = {.count = 1};
    struct generate_job job = {.v = &v};
    int rc = opts_parse(&command_generate, argc, argv, &v);
    if (rc != OPTS_GO_ON)
        return rc;
    if (v.sampler && strcmp(v.sampler, "help") == 0)
        return list_samplers();
    if (v.schedule && strcmp(v.schedule, "help") == 0)
        return list_schedules();
    if (!opts_is_given(&command_generate, &v, "seed"))
        v.seed = cli_random_seed();
    if (!opts_is_given(&command_generate, &v, "variation-seed"))
        v.variation_seed = cli_random_seed();
    cli_catch_interrupts();
    rc = check_values(&v);
    if (rc == CLI_OK)
        rc = collect_prompts(&job);
    if (rc == CLI_OK && v.init)
        rc = picture_or_latents_read(&job.init, &job.latents, v.init);
    if (rc == CLI_OK && v.mask)
        rc = picture_read(&job.mask, v.mask);
    if (rc == CLI_OK)
        rc = open_models(&job);
    if (rc == CLI_OK)
        rc = generate_loras(&job);
    if (rc == CLI_OK)
        rc = plan(&job);
    if (rc == CLI_OK)
        rc = generate_name(&job);
    if (rc == CLI_OK)
        rc = generate_run(&job);
    if (v.common.is_json && (rc == CLI_OK || rc == CLI_INTERRUPTED))
        print_json(&job);
    job_fini(&job);
    return rc;
}
