/* model_files.c - where models are found, and how they are opened.
 *
 * SPDX-License-Identifier: MIT
 */
#include "model_files.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_MODEL "fashion"

/* ------------------------------------------------------------- finding -- */

static bool is_there(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0;
}

/* A model of that name beside the program: installed (../share/unstir/models)
 * or in its build tree (../models, ../../models for build/san-address). */
static bool find_shipped(char *path, size_t size, const char *name)
{
    static const char *const places[] = {"../share/unstir/models", "../models",
                                         "../../models"};
    char program[512];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    char *slash;

    if (n <= 0)
        return false;
    program[n] = '\0';
    slash = strrchr(program, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(path, size, "%s/%s/%s", program, places[i], name);

        if (length > 0 && (size_t)length < size && is_there(path))
            return true;
    }
    return false;
}

/* Of the standard tokenizer, or NULL. */
static const char *find_merges(char *path, size_t size)
{
    size_t n;

    if (!find_shipped(path, size, "clip-bpe"))
        return NULL;
    n = strlen(path);
    (void)snprintf(path + n, size - n, "/merges.txt");
    return path;
}

/* Beside the place that was given, or of those that come with the program. */
static bool find_near(char near[PATH_MAX], const char *given)
{
    char shipped[PATH_MAX];

    return (find_shipped(shipped, sizeof shipped, ".") &&
            unstir_model_nearest(near, PATH_MAX, shipped, given)) ||
           unstir_model_nearest(near, PATH_MAX, ".", given);
}

/* `given` is a path, or the name of a model shipped with the program, whose
 * path is put into `shipped`.  NULL after *why was written. */
static const char *path_of(const char *given, char *shipped,
                           size_t shipped_size, char *why, size_t why_size)
{
    const bool is_path = strchr(given, '/') != NULL;
    char near[PATH_MAX];

    if (is_there(given) || errno != ENOENT)
        return given;
    if (!is_path && find_shipped(shipped, shipped_size, given))
        return shipped;
    if (find_near(near, given))
        (void)snprintf(why, why_size,
                       "model %s: is not there; did you mean %s?", given, near);
    else
        (void)snprintf(why, why_size,
                       "model %s: no such file or folder%s; give one by -m",
                       given,
                       is_path ? ""
                               : " here, nor a model that comes with the "
                                 "program");
    return NULL;
}

size_t model_files_n(const struct config *config)
{
    return config->model.n > 0 ? config->model.n : 1;
}

const char *model_files_path(const struct config *config, size_t i, char *place,
                             size_t place_size, char *why, size_t why_size)
{
    const char *given =
        config->model.n > 0 ? config->model.items[i] : DEFAULT_MODEL;

    return path_of(given, place, place_size, why, why_size);
}

/* ------------------------------------------------------------- opening -- */

static enum unstir_precision precision_of(const char *text)
{
    return strcmp(text, "f32") == 0    ? UNSTIR_PRECISION_F32
           : strcmp(text, "bf16") == 0 ? UNSTIR_PRECISION_BF16
           : strcmp(text, "int8") == 0 ? UNSTIR_PRECISION_INT8
                                       : UNSTIR_PRECISION_AUTO;
}

void model_files_fill(struct model_files *files, const struct config *config,
                      bool without_weights)
{
    struct unstir_model_options *options = &files->options;

    *options = (struct unstir_model_options){
        .isa = config->isa[0] != '\0' ? config->isa : NULL,
        .precision = precision_of(config->precision),
        .pack_cache = config->pack_cache,
        .without_weights = without_weights,
        .low_memory = config->low_memory,
        .tiny_decoder =
            config->tiny_decoder[0] != '\0' ? config->tiny_decoder : NULL,
        .vae = config->vae[0] != '\0' ? config->vae : NULL,
        .merges_path = find_merges(files->merges, sizeof files->merges)};
    for (size_t i = 0; i < 2 && i < config->text_encoder.n; i++)
        options->text_encoders[i] = config->text_encoder.items[i];
}

/* ------------------------------------------------------------ checking -- */

/* Is `word` in the list "a,b,c"? */
static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);

    for (const char *at = list; *at != '\0'; at += *at == ',') {
        size_t length = strcspn(at, ",");

        if (length == n && strncmp(at, word, n) == 0)
            return true;
        at += length;
    }
    return false;
}

static bool check_options(const struct config *config, char *why,
                          size_t why_size)
{
    if (config->text_encoder.n > 2) {
        (void)snprintf(why, why_size,
                       "--text-encoder: given %zu times; no model has more "
                       "than 2",
                       config->text_encoder.n);
        return false;
    }
    if (config->isa[0] != '\0' && !has_word(unstir_cpu_rungs(), config->isa)) {
        (void)snprintf(why, why_size, "--isa %.40s: this CPU has %s",
                       config->isa, unstir_cpu_rungs());
        return false;
    }
    return true;
}

bool model_files_check(const struct config *config, char *why, size_t why_size)
{
    struct unstir_error error;
    struct model_files files;
    struct unstir_model *model;
    char place[1024];

    if (!check_options(config, why, why_size))
        return false;
    model_files_fill(&files, config, true);
    for (size_t i = 0; i < model_files_n(config); i++) {
        const char *path =
            model_files_path(config, i, place, sizeof place, why, why_size);

        if (path == NULL)
            return false;
        if (unstir_model_open(&model, path, &files.options, &error) !=
            UNSTIR_OK) {
            (void)snprintf(why, why_size, "model %.200s: %s", path,
                           error.detail);
            return false;
        }
        unstir_model_close(model);
    }
    return true;
}
