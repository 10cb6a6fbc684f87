/* generate_raw.c - tensors before quantisation, for --raw.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "generate.h"
#include "output.h"

/* All tensors are held until the end: a ceiling keeps a long run with
 * --raw-steps from eating the machine. */
#define MAX_RAW_BYTES ((size_t)4 << 30)

static size_t all_floats(const struct raw *r)
{
    return r->n_floats * r->n_pictures;
}

int raw_init(struct generate_job *job)
{
    struct raw *r = &job->raw;
    size_t n_floats;
    if (!job->v->raw)
        return CLI_OK;
    (void)unstir_generation_sample(job->pictures[0].generation, &n_floats);
    r->n_pictures = job->n;
    r->n_floats = n_floats;
    r->n_steps = job->v->wants_raw_steps ? job->steps : 0;
    size_t n_tensors = 1 + (job->v->wants_raw_steps ? r->n_steps + 1u : 0u);
    if (n_floats == 0 || job->n > MAX_RAW_BYTES / 4 / n_floats / n_tensors) {
        cli_error("--raw: %zu tensors of %zu pictures are more than %zu MiB; "
                  "make fewer at once",
                  n_tensors, job->n, MAX_RAW_BYTES >> 20);
        return CLI_LIMIT;
    }
    r->sample = calloc(all_floats(r), sizeof(float));
    if (r->n_steps > 0)
        r->steps = calloc(all_floats(r), (r->n_steps + 1u) * sizeof(float));
    if (!r->sample || (r->n_steps > 0 && !r->steps)) {
        cli_error("--raw: out of memory");
        return CLI_LIMIT;
    }
    return CLI_OK;
}

void raw_keep(struct generate_job *job, size_t i, uint32_t step)
{
    struct raw *r = &job->raw;
    size_t n;
    if (!r->steps || step > r->n_steps)
        return;
    const float *sample =
        unstir_generation_sample(job->pictures[i].generation, &n);
    memcpy(r->steps + step * all_floats(r) + i * r->n_floats, sample,
           r->n_floats * sizeof(float));
}

void raw_keep_final(struct generate_job *job, size_t i)
{
    struct raw *r = &job->raw;
    size_t n;
    if (!r->sample)
        return;
    const float *sample =
        unstir_generation_sample(job->pictures[i].generation, &n);
    memcpy(r->sample + i * r->n_floats, sample, r->n_floats * sizeof(float));
}

static struct unstir_tensor tensor_of(const struct generate_job *job,
                                      const char *name, const float *data)
{
    const struct unstir_request *q =
        unstir_generation_request(job->pictures[0].generation);
    size_t channels = job->raw.n_floats / ((size_t)q->width * q->height);
    return (struct unstir_tensor){
        .name = name,
        .data = data,
        .rank = 4,
        .dims = {job->raw.n_pictures, channels, q->height, q->width}};
}

/* A pixel model's picture is its sample; both names stand in the file. */
int raw_write(struct generate_job *job)
{
    struct raw *r = &job->raw;
    size_t n_steps = r->steps ? r->n_steps + 1u : 0;
    struct unstir_tensor *tensors;
    char(*names)[16];
    char *json = NULL;
    struct unstir_error err = {0};
    if (!r->sample)
        return CLI_OK;
    tensors = calloc(n_steps + 2, sizeof(*tensors));
    names = calloc(n_steps + 1, sizeof(*names));
    int rc = CLI_LIMIT;
    if (!tensors || !names) {
        cli_error("--raw: out of memory");
        goto out;
    }
    tensors[0] = tensor_of(job, "sample", r->sample);
    tensors[1] = tensor_of(job, "image", r->sample);
    for (size_t i = 0; i < n_steps; i++) {
        snprintf(names[i], sizeof(names[i]), "step.%04zu", i);
        tensors[2 + i] = tensor_of(job, names[i], r->steps + i * all_floats(r));
    }
    enum unstir_status status = unstir_request_json(
        job->model, unstir_generation_request(job->pictures[0].generation),
        &json, &err);
    const struct unstir_text meta = {"request", json};
    if (status == UNSTIR_OK)
        status = unstir_tensors_write(job->v->raw, tensors, n_steps + 2, &meta,
                                      1, &err);
    rc = status == UNSTIR_OK ? CLI_OK : cli_fail(&err);
out:
    unstir_free(json);
    free(names);
    free(tensors);
    return rc;
}

void raw_fini(struct raw *raw)
{
    free(raw->sample);
    free(raw->steps);
    *raw = (struct raw){0};
}
