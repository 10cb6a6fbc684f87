/* train_state.c - save a trainer and go on from it, bit for bit.
 *
 * One safetensors file: the parameters, the optimiser's moments and the
 * running mean as four long vectors (params.h), the loss history, and in the
 * metadata the options, the step and the network's configuration.  The
 * format has no check sum of its own, so the metadata carry a SHA-256 over
 * every tensor and every other entry: a damaged file is refused.  So is one
 * whose pictures are no longer the same.
 *
 * SPDX-License-Identifier: MIT
 */
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/path.h"
#include "format/digest.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "format/safetensors_write.h"
#include "format/weights.h"
#include "ops/graph.h"

#define STATE_NAME   "training/state.safetensors"
#define STATE_FORMAT "unstir training state 1"
#define N_VECTORS    4

static const char *const vector_names[N_VECTORS] = {"weights", "moment1",
                                                    "moment2", "mean"};

static float *vector_of(struct unstir_trainer *t, size_t i)
{
    float *const all[N_VECTORS] = {t->learner.params.p, t->learner.params.m,
                                   t->learner.params.v, t->learner.params.ema};
    return all[i];
}

/* What stands in the metadata besides the digest. */
struct state_text {
    char numbers[512]; /* step, clock, history's open row                    */
    char *options;
};

static void write_numbers(char out[512], const struct unstir_trainer *t)
{
    const struct history *h = &t->history;
    /* Hexadecimal floats come back as the same bits. */
    snprintf(out, 512, "%llu %a %a %a %a %zu %llu %a %llu",
             (unsigned long long)t->step, t->elapsed_s, t->loss_smooth,
             t->loss_last, t->images_per_s, h->n, (unsigned long long)h->stride,
             h->open_loss, (unsigned long long)h->open_n);
}

static enum unstir_status read_numbers(struct unstir_trainer *t,
                                       const char *text,
                                       struct unstir_error *err)
{
    struct history *h = &t->history;
    unsigned long long step, stride, open_n;
    size_t n;
    if (sscanf(text, "%llu %la %la %la %la %zu %llu %la %llu", &step,
               &t->elapsed_s, &t->loss_smooth, &t->loss_last, &t->images_per_s,
               &n, &stride, &h->open_loss, &open_n) != 9 ||
        n > HISTORY_ROWS || stride == 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "saved state: \"%s\" does not say how far it is",
                         text);
    t->step = step;
    h->n = n;
    h->stride = stride;
    h->open_n = open_n;
    return UNSTIR_OK;
}

static enum unstir_status state_digest(char hex[65], struct unstir_trainer *t,
                                       const struct state_text *text,
                                       struct unstir_error *err)
{
    struct digest *sha;
    TRY(digest_new(&sha, err));
    digest_add(sha, "numbers", text->numbers, strlen(text->numbers));
    digest_add(sha, "options", text->options, strlen(text->options));
    digest_add(sha, "config", t->config_text, strlen(t->config_text));
    digest_add(sha, "data", t->data_digest, strlen(t->data_digest));
    for (size_t i = 0; i < N_VECTORS; i++)
        digest_add(sha, vector_names[i], vector_of(t, i),
                   t->learner.params.n * sizeof(float));
    digest_add(sha, "history", t->history.rows,
               t->history.n * sizeof *t->history.rows);
    digest_finish(sha, hex);
    return UNSTIR_OK;
}

static enum unstir_status write_file(struct unstir_trainer *t, const char *path,
                                     const struct state_text *text,
                                     const char *hex, struct unstir_error *err)
{
    struct safetensors_entry entries[N_VECTORS + 1];
    memset(entries, 0, sizeof entries);
    for (size_t i = 0; i < N_VECTORS; i++)
        entries[i] = (struct safetensors_entry){.name = vector_names[i],
                                                .dtype = DTYPE_F32,
                                                .rank = 1,
                                                .dims = {t->learner.params.n},
                                                .data = vector_of(t, i)};
    entries[N_VECTORS] = (struct safetensors_entry){
        .name = "history",
        .dtype = DTYPE_F64,
        .rank = 2,
        .dims = {t->history.n, sizeof *t->history.rows / sizeof(double)},
        .data = t->history.rows};
    const struct safetensors_meta meta[] = {
        {"format", STATE_FORMAT},        {"options", text->options},
        {"numbers", text->numbers},      {"config", t->config_text},
        {"data_sha256", t->data_digest}, {"state_sha256", hex},
    };
    return safetensors_write(path, entries, ARRAY_LEN(entries), meta,
                             ARRAY_LEN(meta), err);
}

enum unstir_status unstir_trainer_save(struct unstir_trainer *t,
                                       struct unstir_error *err)
{
    struct state_text text;
    char path[PATH_BYTES], hex[65];
    TRY(trainer_make_folder(t->options.output, "training", err));
    TRY(path_join(path, t->options.output, STATE_NAME, err));
    write_numbers(text.numbers, t);
    TRY(train_options_write(&text.options, &t->options, err));
    enum unstir_status status = state_digest(hex, t, &text, err);
    if (status == UNSTIR_OK)
        status = write_file(t, path, &text, hex, err);
    alloc_free(text.options);
    return status;
}

/* -- going on -------------------------------------------------------------- */

static enum unstir_status need_meta(const char **out, const struct weights *w,
                                    const char *key, struct unstir_error *err)
{
    *out = weights_metadata(w, key);
    if (!*out)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "saved state: no \"%s\" in its metadata; not written "
                         "by unstir train",
                         key);
    return UNSTIR_OK;
}

static enum unstir_status read_vectors(struct unstir_trainer *t,
                                       const struct weights *w,
                                       struct unstir_error *err)
{
    for (size_t i = 0; i < N_VECTORS; i++) {
        const struct tensor_view *v = weights_find(w, vector_names[i]);
        if (!v || v->dtype != DTYPE_F32 || v->n != t->learner.params.n)
            return error_set(err, UNSTIR_ERR_FORMAT,
                             "saved state: tensor \"%s\" must be %zu F32",
                             vector_names[i], t->learner.params.n);
        memcpy(vector_of(t, i), v->data, v->n_bytes);
    }
    const struct tensor_view *v = weights_find(w, "history");
    size_t bytes = t->history.n * sizeof *t->history.rows;
    if (!v || v->dtype != DTYPE_F64 || v->n_bytes != bytes)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "saved state: tensor \"history\" must have %zu bytes",
                         bytes);
    if (bytes)
        memcpy(t->history.rows, v->data, bytes);
    return UNSTIR_OK;
}

/* Everything but the options, into a trainer that was built from them. */
static enum unstir_status read_state(struct unstir_trainer *t,
                                     const struct weights *w,
                                     const char *options_text,
                                     struct unstir_error *err)
{
    const char *numbers, *config, *data, *wanted;
    char hex[65];
    struct state_text text = {.options = (char *)options_text};
    TRY(need_meta(&numbers, w, "numbers", err));
    TRY(need_meta(&config, w, "config", err));
    TRY(need_meta(&data, w, "data_sha256", err));
    TRY(need_meta(&wanted, w, "state_sha256", err));
    if (strcmp(config, t->config_text) != 0)
        return error_set(err, UNSTIR_ERR_MISMATCH,
                         "saved state: its network is not the one that its "
                         "options describe");
    if (strcmp(data, t->data_digest) != 0)
        return error_set(err, UNSTIR_ERR_MISMATCH,
                         "%s: not the pictures that training began with",
                         t->options.data);
    TRY(read_numbers(t, numbers, err));
    TRY(read_vectors(t, w, err));
    snprintf(text.numbers, sizeof text.numbers, "%s", numbers);
    TRY(state_digest(hex, t, &text, err));
    if (strcmp(hex, wanted) != 0)
        return error_set(err, UNSTIR_ERR_FORMAT,
                         "saved state: damaged: its SHA-256 is %s, it says %s",
                         hex, wanted);
    return UNSTIR_OK;
}

static enum unstir_status resume_from(struct unstir_trainer **out,
                                      const struct weights *w,
                                      const char *folder, unsigned n_threads,
                                      struct unstir_error *err)
{
    struct unstir_train_options o;
    const char *options_text, *format;
    TRY(need_meta(&format, w, "format", err));
    TRY(need_meta(&options_text, w, "options", err));
    if (strcmp(format, STATE_FORMAT) != 0)
        return error_set(err, UNSTIR_ERR_UNSUPPORTED,
                         "saved state: \"%s\"; this build reads \"%s\"", format,
                         STATE_FORMAT);
    TRY(train_options_read(&o, options_text, err));
    o.n_threads = n_threads;
    /* The folder may have been moved: go on where the state lies. */
    alloc_free((char *)o.output);
    o.output = NULL;
    enum unstir_status status = alloc_strdup((char **)&o.output, folder, err);
    if (status == UNSTIR_OK)
        status = trainer_build(out, &o, err);
    train_options_fini(&o);
    if (status == UNSTIR_OK)
        status = read_state(*out, w, options_text, err);
    return status;
}

enum unstir_status unstir_trainer_resume(struct unstir_trainer **out,
                                         const char *folder, unsigned n_threads,
                                         struct unstir_error *err)
{
    char path[PATH_BYTES];
    struct weights *w;
    *out = NULL;
    TRY(path_join(path, folder, STATE_NAME, err));
    TRY(safetensors_open(&w, path, err));
    enum unstir_status status = resume_from(out, w, folder, n_threads, err);
    weights_close(w);
    if (status != UNSTIR_OK) {
        unstir_trainer_free(*out);
        *out = NULL;
        return error_prefix(status, path, err);
    }
    learner_repack(&(*out)->learner);
    return UNSTIR_OK;
}
