/* intake.c - a body that asks for pictures, read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "intake.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "lane.h"
#include "reply.h"
#include "ring.h"

struct intakes {
    struct lane *lane;
    struct ring waiting; /* of readings whose requests wait                  */
    size_t n;
};

struct reading {
    struct lane_task task; /* first member                                   */
    struct ring link;
    struct service *service;
    struct request *request; /* NULL: nobody waits any more                  */
    intake_fn then;
    struct buf body; /* taken from the request                               */
    struct intake intake;
};

/* ---------------------------------------------------------------- reading */

void intake_parse(struct intake *in, const char *body, size_t n)
{
    in->first = body[strspn(body, " \t\r\n")];
    in->doc = jdoc_parse(body, n, in->why, sizeof in->why);
}

void intake_fini(struct intake *in)
{
    jdoc_free(in->doc);
    upload_fini(&in->init_image.upload);
    upload_fini(&in->mask.upload);
}

/* A field that is there but no text is told by those who read all. */
static void read_upload(struct intake_upload *out, const struct jdoc *doc,
                        const char *name)
{
    const char *text = jdoc_string(doc, name);

    if (text == NULL || upload_is_address(text))
        return;
    out->is_read = true;
    (void)upload_read(&out->upload, NULL, text, out->why, sizeof out->why);
}

static void run(struct lane_task *task)
{
    struct reading *r = (struct reading *)task;
    struct intake *in = &r->intake;

    intake_parse(in, r->body.bytes, r->body.n);
    buf_fini(&r->body);
    if (in->doc == NULL)
        return;
    read_upload(&in->init_image, in->doc, "init_image");
    read_upload(&in->mask, in->doc, "mask");
}

/* ----------------------------------------------------------------- waiting */

/* From here on the request is somebody else's. */
static void part_with(struct reading *r)
{
    ring_remove(&r->link);
    r->service->intakes->n--;
    r->request = NULL;
}

static void reading_free(struct reading *r)
{
    buf_fini(&r->body);
    intake_fini(&r->intake);
    mem_free(r);
}

static void done(struct lane_task *task)
{
    struct reading *r = (struct reading *)task;
    struct request *request = r->request;

    if (request != NULL) {
        part_with(r);
        r->then(r->service, request, &r->intake);
    }
    reading_free(r);
}

static void abandon(struct reading *r)
{
    struct lane *lane = r->service->intakes->lane;

    part_with(r);
    if (lane_remove(lane, &r->task))
        reading_free(r);
}

static void gone(struct request *request, void *user)
{
    (void)request;
    abandon(user);
}

/* ----------------------------------------------------------------- the door */

static void read_now(struct service *service, struct request *request,
                     intake_fn then)
{
    struct intake in = {.doc = NULL};

    intake_parse(&in, request->body, request->n_body);
    then(service, request, &in);
    intake_fini(&in);
}

void intake_read(struct service *service, struct request *request,
                 intake_fn then)
{
    struct reading *r;

    if (request->n_body <= INTAKE_INLINE_BYTES) {
        read_now(service, request, then);
        return;
    }
    r = mem_zero(1, sizeof *r);
    if (r == NULL) {
        reply_error(request, ERROR_NO_MEMORY, "out of memory");
        return;
    }
    r->task.run = run;
    r->task.done = done;
    r->service = service;
    r->request = request;
    r->then = then;
    reply_take_body(request, &r->body);
    reply_defer(request, gone, r);
    ring_add(&service->intakes->waiting, &r->link);
    service->intakes->n++;
    lane_add(service->intakes->lane, &r->task);
}

/* ----------------------------------------------------------------- the part */

bool intakes_open(struct service *service, char *why, size_t why_size)
{
    struct intakes *intakes = mem_zero(1, sizeof *intakes);

    if (intakes != NULL)
        intakes->lane = lane_new(service->loop);
    if (intakes == NULL || intakes->lane == NULL) {
        mem_free(intakes);
        (void)snprintf(why, why_size, "no thread to read large bodies");
        return false;
    }
    ring_init(&intakes->waiting);
    service->intakes = intakes;
    return true;
}

size_t intakes_busy(const struct service *service)
{
    return service->intakes->n;
}

void intakes_stop(struct service *service)
{
    const struct ring *waiting = &service->intakes->waiting;

    while (!ring_is_empty(waiting)) {
        struct reading *r = RING_OF(waiting->next, struct reading, link);
        struct request *request = r->request;

        abandon(r);
        reply_error(request, ERROR_SHUTTING_DOWN, "the server stops");
    }
}

void intakes_close(struct service *service)
{
    lane_free(service->intakes->lane);
    mem_free(service->intakes);
    service->intakes = NULL;
}
