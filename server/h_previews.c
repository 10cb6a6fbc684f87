/* h_previews.c - every step of a job as a picture: one, live, side by side.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "encode.h"
#include "h_jobs.h"
#include "handlers.h"
#include "query.h"
#include "stream.h"
#include "unstir.h"

#define TIMELINE_DEFAULT 16u
#define TIMELINE_GAP     2u /* pixels */

/* Pictures below this edge are enlarged on a timeline, to be seen at all. */
#define TIMELINE_EDGE 64u

/* A request that waits for the encoder. */
struct making {
    struct request *request;
    struct encode *encode;
    enum unstir_format format;
};

static void made(void *user, unsigned char *bytes, size_t n_bytes)
{
    struct making *m = user;

    if (bytes != NULL)
        reply_bytes(m->request, 200, unstir_format_info(m->format)->media_type,
                    bytes, n_bytes);
    else
        reply_error(m->request, ERROR_NO_MEMORY,
                    "no memory to encode the picture");
    unstir_free(bytes);
    mem_free(m);
}

static void making_gone(struct request *request, void *user)
{
    struct making *m = user;

    (void)request;
    encode_abandon(m->encode);
    mem_free(m);
}

static void reply_no_room(struct request *request)
{
    reply_header(request, "Retry-After", "1");
    reply_error(request, ERROR_NO_MEMORY,
                "no memory for another picture: others are being encoded");
}

/* Takes the encode. */
static void reply_encoded(struct service *service, struct request *request,
                          struct encode *encode,
                          const struct encode_options *options)
{
    struct making *m = mem_zero(1, sizeof *m);

    if (m == NULL || encode == NULL) {
        mem_free(m);
        encode_free(encode);
        reply_no_room(request);
        return;
    }
    m->request = request;
    m->encode = encode;
    m->format = options->format;
    reply_defer(request, making_gone, m);
    if (encode_start(encode, service->loop, options, made, m))
        return;
    mem_free(m);
    reply_no_room(request);
}

static bool read_image(struct request *request, const struct job *job,
                       uint32_t *image)
{
    uint64_t value;

    if (!h_query_up_to(request, "image", job->req.n - 1, 0, &value))
        return false;
    *image = (uint32_t)value;
    return true;
}

static uint32_t read_zoom(const struct request *request, uint32_t fallback)
{
    return (uint32_t)query_number(request, "zoom", fallback);
}

void h_refuse_size(struct request *request, const char *name, uint32_t nearest)
{
    struct problem *problem = reply_problem_new(request);
    char detail[120], text[24];

    if (problem == NULL)
        return;
    (void)snprintf(detail, sizeof detail,
                   "would make a picture with an edge above %u pixels, or an "
                   "enlarged one of more than %u million",
                   ENCODE_MAX_EDGE, (unsigned)(ENCODE_MAX_ENLARGED >> 20));
    (void)snprintf(text, sizeof text, "%u", nearest);
    query_violation(problem, name, request_query(request, name), detail,
                    nearest > 0 ? text : NULL);
    reply_problem(request, problem);
}

/* False when it was answered.  The options become what is made. */
static bool check_size(struct request *request, uint32_t width, uint32_t height,
                       size_t n, struct encode_options *options)
{
    struct encode_sheet sheet = {width,        height,           n,
                                 options->gap, options->columns, options->zoom};
    const char *name = "zoom";

    if (encode_fits(&sheet)) {
        options->columns = sheet.columns;
        return true;
    }
    if (sheet.zoom == 0)
        name = options->columns > 0 ? "columns" : "max";
    h_refuse_size(request, name, sheet.zoom);
    return false;
}

/* The table of formats with one of them first. */
static void offer(enum unstir_format order[UNSTIR_N_FORMATS],
                  const char *types[UNSTIR_N_FORMATS], enum unstir_format first)
{
    size_t n = 0;

    order[n++] = first;
    for (int i = 0; i < UNSTIR_N_FORMATS; i++)
        if (i != (int)first)
            order[n++] = (enum unstir_format)i;
    for (size_t i = 0; i < n; i++)
        types[i] = unstir_format_info(order[i])->media_type;
}

/* As the address says, else as the client accepts, its job's own one first. */
static bool read_format(struct request *request, const struct job *job,
                        struct encode_options *options)
{
    const char *name = request_query(request, "format");
    const char *types[UNSTIR_N_FORMATS];
    enum unstir_format order[UNSTIR_N_FORMATS];
    int chosen;

    options->quality = (int)query_number(
        request, "quality", (uint64_t)job->req.preview_file.quality);
    reply_header(request, "Vary", "Accept");
    for (int i = 0; name != NULL && i < UNSTIR_N_FORMATS; i++)
        if (strcmp(unstir_format_info((enum unstir_format)i)->name, name) ==
            0) {
            options->format = (enum unstir_format)i;
            return true;
        }
    offer(order, types, job->req.preview_file.format);
    chosen = request_accept(request_header(request, "Accept"), types,
                            UNSTIR_N_FORMATS);
    if (chosen >= 0) {
        options->format = order[chosen];
        return true;
    }
    reply_error(request, ERROR_NOT_ACCEPTABLE,
                "previews can be had as %s, %s, %s", types[0], types[1],
                types[2]);
    return false;
}

static void reply_no_preview(struct request *request, const struct job *job,
                             uint32_t step, enum preview_found found)
{
    if (found == PREVIEW_DROPPED)
        reply_error(request, ERROR_GONE,
                    "step %u was kept and has been dropped: newer ones needed "
                    "the room, or preview.keep is false",
                    step);
    else if (job->previews.every > 1 && step % job->previews.every != 0)
        reply_error(request, ERROR_PREVIEW_NOT_FOUND,
                    "this job keeps every %u. step only (preview.every)",
                    job->previews.every);
    else
        reply_error(request, ERROR_PREVIEW_NOT_FOUND,
                    "the job has not taken this step; it is asked for %u",
                    job->req.steps);
}

static bool read_step(struct request *request, const struct job *job,
                      uint32_t image, uint32_t *step)
{
    *step =
        (uint32_t)query_number(request, "step", job->previews.newest[image]);
    if (*step != PREVIEWS_NONE)
        return true;
    reply_error(request, ERROR_PREVIEW_NOT_FOUND,
                "the job has not begun; ask again when it runs");
    return false;
}

void h_jobs_preview(struct service *service, struct request *request)
{
    struct job *job = h_find_job(service, request);
    struct encode_options options = {.zoom = 1};
    const struct previews *p;
    enum preview_found found;
    struct encode *encode;
    const uint8_t *pixels;
    uint32_t image, step;
    unsigned view;
    char etag[96];

    if (job == NULL || !read_image(request, job, &image) ||
        !read_format(request, job, &options) ||
        !read_step(request, job, image, &step))
        return;
    view = h_query_view(request, UNSTIR_VIEW_ESTIMATE);
    options.zoom = read_zoom(request, 1);
    p = &job->previews;
    if (!check_size(request, p->width, p->height, 1, &options))
        return;
    found = previews_find(p, image, step, view, &pixels);
    if (found != PREVIEW_FOUND) {
        reply_no_preview(request, job, step, found);
        return;
    }
    (void)snprintf(
        etag, sizeof etag, "\"%s-%u-%u-%s-%u-%s-%d\"", job->id, image, step,
        view == UNSTIR_VIEW_SAMPLE ? "sample" : "estimate", options.zoom,
        unstir_format_info(options.format)->name, options.quality);
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_headerf(request, "X-Step", "%u", step);
    if (reply_not_modified(request, etag))
        return;
    options.max_edge = job->req.preview_max_edge;
    encode =
        encode_new(&service->jobs->encodes, p->width, p->height, p->channels);
    if (encode != NULL && !encode_add(encode, pixels)) {
        encode_free(encode);
        encode = NULL;
    }
    reply_encoded(service, request, encode, &options);
}

void h_jobs_film(struct service *service, struct request *request)
{
    struct stream_options options = {.form = STREAM_FILM};
    struct job *job = h_find_job(service, request);
    struct encode_options picture = {.zoom = read_zoom(request, 1)};

    if (job == NULL || !read_image(request, job, &options.image) ||
        !check_size(request, job->req.resolved.width, job->req.resolved.height,
                    1, &picture))
        return;
    options.zoom = picture.zoom;
    options.view = h_query_view(request, UNSTIR_VIEW_ESTIMATE);
    stream_start(request, job, &options);
}

static uint32_t count_there(const struct previews *p, uint32_t image,
                            unsigned view)
{
    uint32_t n = 0;
    const uint8_t *pixels;

    for (uint32_t step = 0; step <= p->n_steps; step++)
        n += previews_find(p, image, step, view, &pixels) == PREVIEW_FOUND;
    return n;
}

/* Evenly spaced among the steps that are there, first and last included.  NULL
 * without room. */
static struct encode *collect(struct budget *budget, const struct previews *p,
                              uint32_t image, unsigned view, uint32_t max)
{
    uint32_t n_there = count_there(p, image, view), n_taken = 0, i = 0;
    struct encode *encode;
    const uint8_t *pixels;

    if (max > n_there)
        max = n_there;
    encode = encode_new(budget, p->width, p->height, p->channels);
    for (uint32_t step = 0; encode != NULL && step <= p->n_steps; step++) {
        uint32_t wanted =
            max > 1 ? (uint32_t)((uint64_t)n_taken * (n_there - 1) / (max - 1))
                    : n_there - 1;

        if (previews_find(p, image, step, view, &pixels) != PREVIEW_FOUND)
            continue;
        if (i++ != wanted)
            continue;
        if (!encode_add(encode, pixels)) {
            encode_free(encode);
            return NULL;
        }
        n_taken++;
    }
    return encode;
}

void h_jobs_timeline(struct service *service, struct request *request)
{
    struct encode_options options = {.gap = TIMELINE_GAP};
    struct job *job = h_find_job(service, request);
    const struct previews *p;
    struct encode *encode;
    uint32_t image, edge;
    unsigned view;

    if (job == NULL || !read_image(request, job, &image) ||
        !read_format(request, job, &options))
        return;
    p = &job->previews;
    edge = p->width > p->height ? p->width : p->height;
    options.zoom = read_zoom(request, edge > 0 && edge < TIMELINE_EDGE ? 2 : 1);
    options.columns = (uint32_t)query_number(request, "columns", 0);
    view = h_query_view(request, UNSTIR_VIEW_SAMPLE);
    if (count_there(p, image, view) == 0) {
        reply_no_preview(request, job, 0,
                         p->newest[image] == PREVIEWS_NONE ? PREVIEW_NEVER
                                                           : PREVIEW_DROPPED);
        return;
    }
    encode = collect(&service->jobs->encodes, p, image, view,
                     (uint32_t)query_number(request, "max", TIMELINE_DEFAULT));
    if (encode != NULL && !check_size(request, p->width, p->height,
                                      encode_len(encode), &options)) {
        encode_free(encode);
        return;
    }
    reply_header(request, "Cache-Control", "private, no-cache");
    reply_encoded(service, request, encode, &options);
}
