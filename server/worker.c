/* worker.c - a thread that computes, and the work that is passed to it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "worker.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "buf.h"
#include "clock.h"
#include "upload.h"

struct worker {
    pthread_t thread;
    struct unstir_executor *executor;
    int nice;
    /* Guards `work` and `is_ending`; no other lock is taken under it. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct work *work;
    bool is_ending;
};

/* ------------------------------------------------- what the loop may do -- */

/* Order: the worker publishes a generation, then reads `stop`; this sets
 * `stop`, then looks for generations.  Both are sequentially consistent, so
 * one of the two sees the other. */
void work_stop(struct work *work, enum work_stop stop)
{
    atomic_store(&work->stop, stop);
    if (stop != WORK_ABORT)
        return;
    for (uint32_t i = 0; i < work->n; i++) {
        struct unstir_generation *g = atomic_load(&work->generations[i]);

        if (g != NULL)
            unstir_generation_cancel(g);
    }
}

void work_init(struct work *work, struct loop *loop, int64_t quantum_ns,
               const struct work_events *events, void *owner)
{
    memset(work, 0, sizeof *work);
    work->loop = loop;
    work->events = events;
    work->owner = owner;
    work->n = 1;
    work->output.file.png_level = -1;
    work->quantum_ns = quantum_ns;
    atomic_init(&work->stop, WORK_GO);
    for (size_t i = 0; i < WORK_MAX_PICTURES; i++)
        atomic_init(&work->generations[i], NULL);
}

void work_fini(struct work *work)
{
    for (uint32_t i = 0; i < work->n; i++)
        unstir_generation_free(atomic_load(&work->generations[i]));
}

void work_free(struct work *work)
{
    if (work == NULL)
        return;
    work_fini(work);
    mem_free(work);
}

/* ------------------------------------------------------------- messages -- */

static void run_stepped(struct loop_message *message)
{
    struct work_step *step = (struct work_step *)message;

    step->work->events->stepped(step);
}

static void run_encoded(struct loop_message *message)
{
    struct work_png *png = (struct work_png *)message;

    png->work->events->encoded(png);
}

static void run_turn_over(struct loop_message *message)
{
    struct work *work = (struct work *)message;

    work->events->turn_over(work);
}

static uint8_t *copy_view(const struct unstir_generation *generation,
                          enum unstir_view view,
                          struct unstir_executor *executor,
                          struct work_step *step)
{
    struct unstir_image image;
    uint8_t *copy = NULL;

    if (unstir_generation_preview_by(generation, view,
                                     step->work->preview_decoder, executor,
                                     &image, NULL) != UNSTIR_OK)
        return NULL;
    step->width = image.width;
    step->height = image.height;
    step->channels = image.channels;
    copy = mem_zero((size_t)image.width * image.height, image.channels);
    if (copy != NULL)
        memcpy(copy, image.pixels,
               (size_t)image.width * image.height * image.channels);
    unstir_image_fini(&image);
    return copy;
}

/* Without memory a step is not told: the next one is. */
static void post_step(struct work *work, uint32_t image,
                      struct unstir_executor *executor,
                      const struct work_step *times)
{
    struct work_step *step = mem_zero(1, sizeof *step);
    const struct unstir_generation *g = atomic_load(&work->generations[image]);
    struct unstir_progress at = unstir_generation_progress(g);

    if (step == NULL)
        return;
    *step = *times;
    step->message.run = run_stepped;
    step->work = work;
    step->image = image;
    step->step = at.step;
    if (work->preview_every > 0 &&
        (at.step % work->preview_every == 0 || at.step == at.steps)) {
        step->views[0] = copy_view(g, UNSTIR_VIEW_ESTIMATE, executor, step);
        step->views[1] = copy_view(g, UNSTIR_VIEW_SAMPLE, executor, step);
    }
    loop_post(work->loop, &step->message);
}

/* --------------------------------------------------------------- a turn -- */

static enum work_outcome broken(struct work *work, enum unstir_status status)
{
    work->error.status = status;
    if (work->error.detail[0] == '\0')
        (void)snprintf(work->error.detail, sizeof work->error.detail, "%s",
                       unstir_status_name(status));
    return WORK_BROKEN;
}

static enum unstir_status decode(const struct blob *blob,
                                 struct unstir_image *image,
                                 const struct unstir_image **out,
                                 struct unstir_error *error)
{
    enum unstir_status status;

    if (blob == NULL)
        return UNSTIR_OK;
    status = unstir_image_decode(blob->bytes, blob->n_bytes, UPLOAD_MAX_EDGE,
                                 image, error);
    *out = image;
    return status;
}

/* What is in the blobs that a request came with. */
struct contents {
    struct unstir_image init, mask;
    struct unstir_latents latents;
};

static enum unstir_status read_contents(struct work *work, struct contents *c)
{
    const struct blob *blob = work->init_image;
    struct unstir_request *r = &work->request;
    enum unstir_status status;

    if (work->n_latents > 0)
        status = unstir_latents_decode(blob->bytes, blob->n_bytes, &c->latents,
                                       &work->error);
    else
        status = decode(blob, &c->init, &r->init_image, &work->error);
    if (status == UNSTIR_OK)
        status = decode(work->mask, &c->mask, &r->mask, &work->error);
    return status;
}

/* Of one tensor all pictures take it, of more each its own. */
static void take_latents(struct unstir_request *request,
                         struct unstir_latents *own, const struct contents *c,
                         uint32_t i)
{
    if (c->latents.values == NULL)
        return;
    *own = c->latents;
    if (own->n > 1)
        own->values += (size_t)i * own->channels * own->height * own->width;
    own->n = 1;
    request->init_latents = own;
}

/* Beside the first one: see begin_all(). */
static enum unstir_status begin_one(struct work *work,
                                    const struct unstir_request *request,
                                    struct unstir_generation **out)
{
    const struct unstir_generation *first = atomic_load(&work->generations[0]);
    const struct unstir_refiner refiner = {work->refiner, &work->refined};

    if (work->refiner == NULL)
        return unstir_generation_begin_beside(out, work->model, request, first,
                                              &work->error);
    return unstir_generation_begin_refined(out, work->model, &refiner, request,
                                           first, &work->error);
}

/* All begin with the same pictures, if any: these are encoded once. */
static enum work_outcome begin_all(struct work *work,
                                   const struct contents *contents,
                                   struct unstir_executor *executor)
{
    int64_t start = clock_mono_ns();

    for (uint32_t i = 0; i < work->n; i++) {
        struct unstir_request request = work->request;
        struct unstir_latents latents;
        struct unstir_generation *g;
        enum unstir_status status;

        unstir_request_picture(&request, i);
        take_latents(&request, &latents, contents, i);
        status = begin_one(work, &request, &g);
        if (status != UNSTIR_OK)
            return broken(work, status);
        if (work->wants_latents)
            unstir_generation_leave_latents(g);
        atomic_store(&work->generations[i], g);
    }
    work->has_begun = true;
    work->begin_ns += clock_mono_ns() - start;
    for (uint32_t i = 0; i < work->n; i++)
        post_step(work, i, executor,
                  &(struct work_step){.ended_ns = start + work->begin_ns});
    return WORK_TURN_OVER;
}

/* The pictures that the request came with are needed for this alone. */
static enum work_outcome begin(struct work *work,
                               struct unstir_executor *executor)
{
    struct contents contents = {.latents = {.values = NULL}};
    struct unstir_request *r = &work->request;
    enum work_outcome outcome;
    enum unstir_status status = read_contents(work, &contents);

    if (status != UNSTIR_OK) {
        work->has_bad_picture = status != UNSTIR_ERR_NOMEM;
        outcome = broken(work, status);
    } else {
        outcome = begin_all(work, &contents, executor);
    }
    r->init_image = r->mask = NULL;
    r->init_latents = NULL;
    unstir_image_fini(&contents.mask);
    unstir_image_fini(&contents.init);
    unstir_latents_fini(&contents.latents);
    return outcome;
}

struct batch {
    struct unstir_generation *members[WORK_BATCH];
    struct unstir_times before[WORK_BATCH];
    uint32_t n;
};

static void take_batch(struct batch *batch, struct work *work, uint32_t first)
{
    batch->n = work->n - first < WORK_BATCH ? work->n - first : WORK_BATCH;
    for (uint32_t k = 0; k < batch->n; k++) {
        batch->members[k] = atomic_load(&work->generations[first + k]);
        batch->before[k] = unstir_generation_times(batch->members[k]);
    }
}

/* The network's share is equal for all pictures of a batch. */
static void post_batch(struct work *work, struct unstir_executor *executor,
                       const struct batch *batch, uint32_t first,
                       int64_t start_ns, int64_t end_ns)
{
    struct work_step times[WORK_BATCH];
    int64_t network_ns = end_ns - start_ns;

    for (uint32_t k = 0; k < batch->n; k++) {
        struct unstir_times now = unstir_generation_times(batch->members[k]);
        const struct unstir_times *before = &batch->before[k];

        times[k] = (struct work_step){
            .step_ns = (end_ns - start_ns) / batch->n,
            .decode_ns = (int64_t)(1e6 * (now.decode_ms - before->decode_ms)),
            .evaluations = now.evaluations - before->evaluations,
            .ended_ns = end_ns,
        };
        network_ns -= times[k].decode_ns +
                      (int64_t)(1e6 * (now.text_ms - before->text_ms));
    }
    for (uint32_t k = 0; k < batch->n; k++) {
        times[k].network_ns = network_ns / batch->n;
        post_step(work, first + k, executor, &times[k]);
    }
}

/* One step of every picture, a batch at a time. */
static enum unstir_status step_all(struct work *work,
                                   struct unstir_executor *executor)
{
    for (uint32_t i = 0; i < work->n; i += WORK_BATCH) {
        struct batch batch;
        int64_t start = clock_mono_ns(), end;
        enum unstir_status status;

        take_batch(&batch, work, i);
        /* Cancelled half way, the pictures of earlier batches are a step
         * ahead; the job is over then. */
        status = batch.n == 1 ? unstir_generation_step(batch.members[0],
                                                       executor, &work->error)
                              : unstir_step_many(batch.members, batch.n,
                                                 executor, &work->error);
        if (status != UNSTIR_OK)
            return status;
        end = clock_mono_ns();
        work->denoise_ns += end - start;
        post_batch(work, executor, &batch, i, start, end);
    }
    work->steps_taken++;
    return UNSTIR_OK;
}

static enum unstir_status encode(struct work *work, uint32_t image)
{
    const struct unstir_generation *g = atomic_load(&work->generations[image]);
    const struct unstir_request *r = unstir_generation_request(g);
    struct work_png *png = mem_zero(1, sizeof *png);
    int64_t start = clock_mono_ns();
    enum unstir_status status;

    if (png == NULL)
        return UNSTIR_ERR_NOMEM;
    png->message.run = run_encoded;
    png->work = work;
    png->image = image;
    png->width = r->width;
    png->height = r->height;
    status = work->wants_latents
                 ? unstir_generation_latents(g, work->output.no_metadata,
                                             &png->bytes, &png->n_bytes,
                                             &work->error)
                 : unstir_generation_encode(g, &work->output, &png->bytes,
                                            &png->n_bytes, &work->error);
    if (status != UNSTIR_OK) {
        mem_free(png);
        return status;
    }
    sha256(png->digest, png->bytes, png->n_bytes);
    work->png_ns += clock_mono_ns() - start;
    loop_post(work->loop, &png->message);
    return UNSTIR_OK;
}

static enum work_outcome encode_all(struct work *work)
{
    for (uint32_t i = 0; i < work->n; i++) {
        enum unstir_status status;

        if (atomic_load(&work->stop) == WORK_ABORT)
            return WORK_STOPPED;
        status = encode(work, i);
        if (status != UNSTIR_OK)
            return broken(work, status);
    }
    return WORK_DONE;
}

static enum work_outcome finish_early(struct work *work)
{
    if (work->steps_taken == 0)
        return WORK_STOPPED;
    for (uint32_t i = 0; i < work->n; i++) {
        struct unstir_generation *g = atomic_load(&work->generations[i]);
        enum unstir_status status;

        if (unstir_generation_is_done(g))
            continue;
        status = unstir_generation_finish_early(g, &work->error);
        if (status != UNSTIR_OK)
            return broken(work, status);
    }
    return encode_all(work);
}

static enum work_outcome turn(struct work *work,
                              struct unstir_executor *executor)
{
    int64_t start = clock_mono_ns();

    if (!work->has_begun && atomic_load(&work->stop) == WORK_GO &&
        begin(work, executor) == WORK_BROKEN)
        return WORK_BROKEN;
    for (;;) {
        int stop = atomic_load(&work->stop);
        int64_t now = clock_mono_ns();
        enum unstir_status status;

        if (stop == WORK_ABORT)
            return WORK_STOPPED;
        if (stop == WORK_FINISH)
            return finish_early(work);
        if (work->deadline_ns != 0 && now >= work->deadline_ns)
            return WORK_LATE;
        if (unstir_generation_is_done(atomic_load(&work->generations[0])))
            return encode_all(work);
        if (now - start >= work->quantum_ns)
            return WORK_TURN_OVER;
        status = step_all(work, executor);
        if (status == UNSTIR_ERR_CANCELLED &&
            atomic_load(&work->stop) != WORK_GO)
            continue;
        if (status != UNSTIR_OK)
            return broken(work, status);
    }
}

/* ------------------------------------------------------------ the thread -- */

static struct work *next_work(struct worker *worker)
{
    struct work *work;

    pthread_mutex_lock(&worker->lock);
    while (worker->work == NULL && !worker->is_ending)
        pthread_cond_wait(&worker->changed, &worker->lock);
    work = worker->work;
    worker->work = NULL;
    pthread_mutex_unlock(&worker->lock);
    return work;
}

static void *worker_main(void *user)
{
    struct worker *worker = user;
    struct work *work;

    /* Linux: niceness belongs to the thread.  Refusal costs fairness only. */
    (void)setpriority(PRIO_PROCESS, 0, worker->nice);
    while ((work = next_work(worker)) != NULL) {
        work->outcome = turn(work, worker->executor);
        work->turn_over.run = run_turn_over;
        loop_post(work->loop, &work->turn_over); /* the loop's from here */
    }
    return NULL;
}

struct worker *worker_new(const struct unstir_executor_options *options,
                          char *why, size_t why_size)
{
    struct worker *worker = mem_zero(1, sizeof *worker);
    struct unstir_error error;

    if (worker == NULL) {
        (void)snprintf(why, why_size, "out of memory");
        return NULL;
    }
    worker->nice = options->nice;
    if (unstir_executor_new(&worker->executor, options, &error) != UNSTIR_OK) {
        (void)snprintf(why, why_size, "worker: %s", error.detail);
        mem_free(worker);
        return NULL;
    }
    (void)pthread_mutex_init(&worker->lock, NULL);   /* default attributes */
    (void)pthread_cond_init(&worker->changed, NULL); /* cannot fail here */
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
        (void)snprintf(why, why_size, "worker: the system starts no thread");
        unstir_executor_free(worker->executor);
        mem_free(worker);
        return NULL;
    }
    return worker;
}

void worker_give(struct worker *worker, struct work *work)
{
    pthread_mutex_lock(&worker->lock);
    worker->work = work;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
}

unsigned worker_threads(const struct worker *worker)
{
    return unstir_executor_threads(worker->executor);
}

void worker_free(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->lock);
    worker->is_ending = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    pthread_join(worker->thread, NULL);
    unstir_executor_free(worker->executor);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    mem_free(worker);
}
