/* generate_loras.c - LoRAs of the command line and of prompts.
 *
 * One model makes all pictures of a command, so its prompts must name the same
 * LoRAs.  A name is a file of the folder --lora-dir, never a path.
 *
 * SPDX-License-Identifier: MIT
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "generate.h"
#include "lora_weight.h"

#define EXTENSION ".safetensors"
#define PEFT_FILE "adapter_model.safetensors"
/* As the trainers of the reference write it. */
#define DIFFUSERS_FILE "pytorch_lora_weights.safetensors"

struct loras {
    struct unstir_lora all[UNSTIR_MAX_LORAS];
    char names[UNSTIR_MAX_LORAS][256];
    char paths[UNSTIR_MAX_LORAS][PATH_MAX];
    char folder[PATH_MAX];
    size_t n;
};

/* "loras" beside the model: in the folder that holds it. */
static bool find_folder(struct loras *l, const struct generate_values *v)
{
    const char *path = cli_model(v->model);
    size_t n = strlen(path);
    int length;

    if (v->lora_dir) {
        length = snprintf(l->folder, sizeof l->folder, "%s", v->lora_dir);
    } else {
        while (n > 1 && path[n - 1] == '/')
            n--;
        while (n > 0 && path[n - 1] != '/')
            n--;
        length =
            snprintf(l->folder, sizeof l->folder, "%.*sloras", (int)n, path);
    }
    return length > 0 && (size_t)length < sizeof l->folder;
}

/* A file, or a folder that holds one. */
static bool is_there(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

static int find_by_name(struct loras *l, size_t i, const char *name)
{
    static const char *const forms[] = {EXTENSION, "/" PEFT_FILE,
                                        "/" DIFFUSERS_FILE};

    for (size_t k = 0; !strchr(name, '/') && name[0] != '.' && k < 3; k++) {
        int n = snprintf(l->paths[i], sizeof l->paths[i], "%s/%s%s", l->folder,
                         name, forms[k]);

        if (n > 0 && (size_t)n < sizeof l->paths[i] && is_there(l->paths[i]))
            return CLI_OK;
    }
    cli_error("LoRA %s: no %s" EXTENSION ", %s/" PEFT_FILE
              " or %s/" DIFFUSERS_FILE " in %s (see --lora-dir)",
              name, name, name, name, l->folder);
    return CLI_USAGE;
}

static int no_room(void)
{
    cli_error("more than %d LoRAs", UNSTIR_MAX_LORAS);
    return CLI_LIMIT;
}

/* "style", "style:0.8", "/path/style.safetensors:0.8" */
static int add_option(struct loras *l, const char *option)
{
    size_t i = l->n;
    char *text = l->paths[i];
    double weight;

    if (i == UNSTIR_MAX_LORAS)
        return no_room();
    if (strlen(option) >= sizeof l->paths[i]) {
        cli_error("--lora: the path is too long");
        return CLI_USAGE;
    }
    strncpy(text, option, sizeof l->paths[i] - 1);
    lora_weight_cut(text, &weight);
    l->all[i] = (struct unstir_lora){
        .path = text, .unet_weight = weight, .text_weight = weight};
    l->n++;
    if (strchr(text, '/') || is_there(text))
        return CLI_OK;
    if (strlen(text) >= sizeof l->names[i]) {
        cli_error("--lora: the name is too long");
        return CLI_USAGE;
    }
    memcpy(l->names[i], text, strlen(text) + 1);
    return find_by_name(l, i, l->names[i]);
}

/* By its name, or as "name.safetensors" in any folder. */
static bool is_called(const struct unstir_lora *lora, const char *name)
{
    const char *slash = strrchr(lora->path, '/');
    const char *file = slash ? slash + 1 : lora->path;
    const char *dot = strrchr(file, '.');
    size_t n = dot && dot > file ? (size_t)(dot - file) : strlen(file);

    if (lora->name)
        return strcmp(lora->name, name) == 0;
    return strlen(name) == n && memcmp(file, name, n) == 0;
}

/* One that --lora names stands as it was given there. */
static bool is_an_option(const struct loras *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (is_called(&l->all[i], name))
            return true;
    return false;
}

static int add_tag(struct loras *l, const struct unstir_lora_tag *tag)
{
    size_t i = l->n;

    if ((tag->unet_weight == 0 && tag->text_weight == 0) ||
        is_an_option(l, tag->name))
        return CLI_OK;
    if (i == UNSTIR_MAX_LORAS)
        return no_room();
    memcpy(l->names[i], tag->name, sizeof l->names[i]);
    l->all[i] = (struct unstir_lora){.path = l->paths[i],
                                     .name = l->names[i],
                                     .unet_weight = tag->unet_weight,
                                     .text_weight = tag->text_weight};
    l->n++;
    return find_by_name(l, i, tag->name);
}

/* A text that is wrong in another way is told when the request is checked. */
static size_t tags_of(const struct generate_job *job, size_t i,
                      struct unstir_lora_tag tags[UNSTIR_MAX_LORAS])
{
    const char *syntax = job->v->prompt_syntax;
    size_t n = 0;

    if (!job->prompts[i] || (syntax && strcmp(syntax, "plain") == 0) ||
        unstir_prompt_loras(job->prompts[i], tags, &n, NULL) != UNSTIR_OK)
        return 0;
    return n;
}

static bool are_same(const struct unstir_lora_tag *a, size_t n_a,
                     const struct unstir_lora_tag *b, size_t n_b)
{
    if (n_a != n_b)
        return false;
    for (size_t i = 0; i < n_a; i++)
        if (strcmp(a[i].name, b[i].name) != 0 ||
            a[i].unet_weight != b[i].unet_weight ||
            a[i].text_weight != b[i].text_weight)
            return false;
    return true;
}

static int add_tags(struct loras *l, const struct generate_job *job)
{
    struct unstir_lora_tag first[UNSTIR_MAX_LORAS], other[UNSTIR_MAX_LORAS];
    size_t n = job->n_prompts ? tags_of(job, 0, first) : 0;

    for (size_t i = 1; i < job->n_prompts; i++)
        if (!are_same(first, n, other, tags_of(job, i, other))) {
            cli_error("prompts 1 and %zu name different LoRAs; make them in "
                      "commands of their own",
                      i + 1);
            return CLI_USAGE;
        }
    for (size_t i = 0; i < n; i++) {
        int rc = add_tag(l, &first[i]);

        if (rc != CLI_OK)
            return rc;
    }
    return CLI_OK;
}

static int derive(struct generate_job *job, const struct loras *l)
{
    struct unstir_error err = {0};
    struct unstir_model *derived;
    double start = cli_now_s();

    if (l->n == 0)
        return CLI_OK;
    if (unstir_model_derive(&derived, job->model, l->all, l->n, &err) !=
        UNSTIR_OK)
        return cli_fail(&err);
    job->base = job->model;
    job->model = derived;
    job->load_ms += 1e3 * (cli_now_s() - start);
    return CLI_OK;
}

int generate_loras(struct generate_job *job)
{
    const struct opt_list *options = &job->v->loras;
    bool reads_tags = unstir_model_info(job->model)->takes_text;
    struct loras *l;
    int rc = CLI_OK;

    if (options->n == 0 && !reads_tags)
        return CLI_OK;
    l = calloc(1, sizeof *l);
    if (!l || !find_folder(l, job->v)) {
        cli_error("out of memory");
        rc = CLI_LIMIT;
    }
    for (size_t i = 0; i < options->n && rc == CLI_OK; i++)
        rc = add_option(l, options->items[i]);
    if (rc == CLI_OK && reads_tags)
        rc = add_tags(l, job);
    if (rc == CLI_OK)
        rc = derive(job, l);
    free(l);
    return rc;
}
