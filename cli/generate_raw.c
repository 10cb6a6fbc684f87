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

/* Sizes of a picture's tensors; false if all together are above the ceiling. */
static bool measure(struct generate_job *job)
{
    const struct unstir_generation *g = job->pictures[0].generation;
    const struct unstir_request *q = unstir_generation_request(g);
    const struct unstir_model_info *info = unstir_model_info(job->model);
    struct raw *r = &job->raw;
    (void)unstir_generation_sample(g, &r->n_floats);
    unstir_generation_sample_shape(g, r->shape);
    if (info->autoencoder)
        r->n_pixels = (size_t)info->channels * q->height * q->width;
    r->n_pictures = job->n;
    r->n_steps = job->v->wants_raw_steps ? job->steps : 0;
    size_t n_samples = 1 + (job->v->wants_raw_steps ? r->n_steps + 1u : 0u);
    size_t most = MAX_RAW_BYTES / sizeof(float) / job->n;
    return r->n_pixels <= most &&
           r->n_floats <= (most - r->n_pixels) / n_samples;
}

int raw_init(struct generate_job *job)
{
    struct raw *r = &job->raw;
    if (!job->v->raw)
        return CLI_OK;
    if (!measure(job)) {
        cli_error("--raw: the tensors of %zu pictures are more than %zu MiB; "
                  "make fewer at once",
                  job->n, MAX_RAW_BYTES >> 20);
        return CLI_LIMIT;
    }
    r->sample = calloc(all_floats(r), sizeof(float));
    if (r->n_steps > 0)
        r->steps = calloc(all_floats(r), (r->n_steps + 1u) * sizeof(float));
    if (r->n_pixels > 0)
        r->image = calloc(r->n_pixels, job->n * sizeof(float));
    if (!r->sample || (r->n_steps > 0 && !r->steps) ||
        (r->n_pixels > 0 && !r->image)) {
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

int raw_keep_final(struct generate_job *job, size_t i)
{
    struct raw *r = &job->raw;
    const struct unstir_generation *g = job->pictures[i].generation;
    struct unstir_error err = {0};
    float *planes;
    size_t n;
    if (!r->sample)
        return CLI_OK;
    memcpy(r->sample + i * r->n_floats, unstir_generation_result(g, &n),
           r->n_floats * sizeof(float));
    if (!r->image)
        return CLI_OK;
    if (unstir_generation_planes(g, &planes, &n, &err) != UNSTIR_OK)
        return cli_fail(&err);
    memcpy(r->image + i * r->n_pixels, planes, r->n_pixels * sizeof(float));
    unstir_free(planes);
    return CLI_OK;
}

static struct unstir_tensor sample_tensor(const struct raw *r, const char *name,
                                          const float *data)
{
    return (struct unstir_tensor){
        .name = name,
        .data = data,
        .rank = 4,
        .dims = {r->n_pictures, r->shape[0], r->shape[1], r->shape[2]}};
}

/* A pixel model's picture is its sample; both names stand in the file. */
static struct unstir_tensor image_tensor(const struct generate_job *job)
{
    const struct raw *r = &job->raw;
    const struct unstir_request *q =
        unstir_generation_request(job->pictures[0].generation);
    if (!r->image)
        return sample_tensor(r, "image", r->sample);
    return (struct unstir_tensor){
        .name = "image",
        .data = r->image,
        .rank = 4,
        .dims = {r->n_pictures, r->n_pixels / ((size_t)q->width * q->height),
                 q->height, q->width}};
}

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
    tensors[0] = sample_tensor(r, "sample", r->sample);
    tensors[1] = image_tensor(job);
    for (size_t i = 0; i < n_steps; i++) {
        snprintf(names[i], sizeof(names[i]), "step.%04zu", i);
        tensors[2 + i] =
            sample_tensor(r, names[i], r->steps + i * all_floats(r));
    }
    enum unstir_status status =
        unstir_generation_json(job->pictures[0].generation, &json, &err);
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
    free(raw->image);
    free(raw->steps);
    *raw = (struct raw){0};
}
