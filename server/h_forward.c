/* h_forward.c - POST /v1/forward: a picture noised to step t of a model's chain, or
 * as a film strip from the picture to noise.
 *
 * Everything but reading the query happens on a helper thread, which has the
 * body: the client may go meanwhile.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "buf.h"
#include "encode.h"
#include "h_jobs.h"
#include "handlers.h"
#include "models.h"
#include "query.h"
#include "unstir.h"

/* A film strip of 16 of these is 8192 pixels wide. */
#define MAX_EDGE  512u
#define MAX_STRIP 16u
#define STRIP_GAP 2u

struct forward {
    struct loop_task task;
    struct request *request; /* NULL: the client has gone                    */
    struct model *model;     /* held                                         */
    struct unstir_forward chain;
    int32_t t;
    uint32_t n_strip; /* 0: one picture at t                                 */
    uint32_t zoom;
    bool is_too_large; /* what would be made; zoom is the largest that is
                          not, 0: none                                       */
    struct buf body;
    enum unstir_status status;
    struct unstir_error error;
    unsigned char *png;
    size_t n_png;
};

static uint32_t n_pictures(const struct forward *f)
{
    return f->n_strip > 0 ? f->n_strip : 1;
}

/* t of picture i: the picture itself first, then evenly to the last step. */
static int32_t strip_t(const struct forward *f, uint32_t i)
{
    int64_t last = (int64_t)f->chain.n_timesteps - 1;

    if (f->n_strip == 0)
        return f->t;
    return (int32_t)((last + 1) * i / (f->n_strip - 1)) - 1;
}

static enum unstir_status make(struct forward *f,
                               const struct unstir_image *image,
                               struct unstir_image *out)
{
    struct unstir_image pictures[MAX_STRIP];
    enum unstir_status status = UNSTIR_OK;
    uint32_t n = 0;

    for (; n < n_pictures(f); n++) {
        status = unstir_forward_image(&f->chain, image, strip_t(f, n),
                                      &pictures[n], &f->error);
        if (status != UNSTIR_OK)
            break;
    }
    if (status == UNSTIR_OK)
        status = unstir_image_sheet(pictures, n, n, STRIP_GAP, f->zoom, out,
                                    &f->error);
    while (n > 0)
        unstir_image_fini(&pictures[--n]);
    return status;
}

static bool fits(struct forward *f, const struct unstir_image *image)
{
    struct encode_sheet sheet = {.width = image->width,
                                 .height = image->height,
                                 .n = n_pictures(f),
                                 .gap = STRIP_GAP,
                                 .columns = n_pictures(f),
                                 .zoom = f->zoom};

    f->is_too_large = !encode_fits(&sheet);
    f->zoom = sheet.zoom;
    return !f->is_too_large;
}

static void run(struct loop_task *task)
{
    struct forward *f = (struct forward *)task;
    struct unstir_image image = {0, 0, 0, NULL}, out = {0, 0, 0, NULL};

    f->status = unstir_image_decode(
        (const unsigned char *)(f->body.bytes ? f->body.bytes : ""), f->body.n,
        MAX_EDGE, &image, &f->error);
    if (f->status == UNSTIR_OK && fits(f, &image))
        f->status = make(f, &image, &out);
    if (f->status == UNSTIR_OK && !f->is_too_large)
        f->status =
            unstir_png_encode(&out, -1, NULL, 0, &f->png, &f->n_png, &f->error);
    unstir_image_fini(&out);
    unstir_image_fini(&image);
}

static void forward_free(struct forward *f)
{
    model_drop(f->model);
    unstir_free(f->png);
    buf_fini(&f->body);
    mem_free(f);
}

static void reply_failed(const struct forward *f)
{
    switch (f->status) {
    case UNSTIR_ERR_NOMEM:
        reply_error(f->request, ERROR_NO_MEMORY, "%s", f->error.detail);
        break;
    case UNSTIR_ERR_INTERNAL:
        reply_error(f->request, ERROR_INTERNAL, "%s", f->error.detail);
        break;
    default:
        reply_error(f->request, ERROR_BAD_PICTURE, "%s", f->error.detail);
        break;
    }
}

static void done(struct loop_task *task)
{
    struct forward *f = (struct forward *)task;

    if (f->request != NULL && f->is_too_large) {
        h_refuse_size(f->request, f->zoom > 0 ? "zoom" : "steps", f->zoom);
    } else if (f->request != NULL && f->status == UNSTIR_OK) {
        reply_headerf(f->request, "X-Seed", "%llu",
                      (unsigned long long)f->chain.seed);
        reply_header(f->request, "X-Model", model_id(f->model));
        reply_bytes(f->request, 200, "image/png", f->png, f->n_png);
    } else if (f->request != NULL) {
        reply_failed(f);
    }
    forward_free(f);
}

static void gone(struct request *request, void *user)
{
    struct forward *f = user;

    (void)request;
    f->request = NULL;
}

static bool read_query(struct request *request, struct forward *f)
{
    uint64_t last = f->chain.n_timesteps - 1;
    uint64_t t;

    if (!h_query_up_to(request, "t", last, last / 4, &t))
        return false;
    f->t = (int32_t)t;
    f->chain.seed = query_number(request, "seed", 0);
    f->n_strip = (uint32_t)query_number(request, "steps", 0);
    f->zoom = (uint32_t)query_number(request, "zoom", 1);
    return true;
}

static struct model *find_model(struct service *service,
                                struct request *request)
{
    const char *name = request_query(request, "model");
    struct model *model = models_find(service->models, name);
    char why[512];

    if (model == NULL) {
        reply_error(request, ERROR_NOT_FOUND,
                    "there is no such model here; GET /v1/models lists all");
    } else if (model->info == NULL) {
        reply_header(request, "Retry-After", "1");
        model_say_unusable(model, name != NULL, why, sizeof why);
        reply_error(request,
                    model->state == MODEL_LOADING ? ERROR_LOADING
                                                  : ERROR_NO_MODEL,
                    "%s", why);
        model = NULL;
    }
    return model;
}

void h_forward(struct service *service, struct request *request)
{
    struct model *model = find_model(service, request);
    struct jobs_refusal refusal;
    struct forward *f;

    if (model == NULL)
        return;
    if (jobs_refuse_draining(service->jobs, &refusal)) {
        h_refuse(request, &refusal);
        return;
    }
    f = mem_zero(1, sizeof *f);
    if (f == NULL) {
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
        return;
    }
    model_hold(model);
    f->model = model;
    f->task = (struct loop_task){.run = run, .done = done};
    f->request = request;
    f->chain.model = model->described;
    f->chain.n_timesteps = model->info->n_train_timesteps;
    if (!read_query(request, f)) {
        forward_free(f);
        return;
    }
    reply_take_body(request, &f->body);
    reply_defer(request, gone, f);
    if (loop_offload(service->loop, &f->task))
        return;
    reply_error(request, ERROR_NO_MEMORY, "out of memory");
    forward_free(f);
}
