/* h_health.c - GET /health/live, /ready, /startup.
 *
 * live: the loop turns.  startup: the parts have come up once, or failed.
 * ready: new work is taken now; 503 while loading and draining, so that a
 * balancer sends work elsewhere while polls are still answered.  When one of
 * several models has failed the others are served: 200, and the word is
 * "degraded".
 *
 * SPDX-License-Identifier: MIT
 */
#include "json.h"
#include "reply.h"
#include "router.h"
#include "service.h"

void h_health_live(struct service *service, struct request *request);
void h_health_ready(struct service *service, struct request *request);
void h_health_startup(struct service *service, struct request *request);

static void answer(struct request *request, unsigned status, const char *word,
                   const char *why)
{
    struct json_out json;
    struct buf body;

    buf_init(&body, 4096);
    jout_init(&json, &body);
    jout_object(&json, NULL);
    jout_string(&json, "status", word);
    if (why && *why)
        jout_string(&json, "detail", why);
    jout_end_object(&json);
    if (status == 503)
        reply_header(request, "Retry-After", "1");
    reply_json(request, status, &body);
    buf_fini(&body);
}

void h_health_live(struct service *service, struct request *request)
{
    (void)service;
    answer(request, 200, "live", NULL);
}

void h_health_ready(struct service *service, struct request *request)
{
    char why[256] = "";
    enum part_state state = service_state(service, why, sizeof why);

    if (service->is_draining)
        answer(request, 503, "draining", "finishing what is accepted");
    else
        answer(request, part_takes_work(state) ? 200 : 503,
               part_state_name(state), why);
}

void h_health_startup(struct service *service, struct request *request)
{
    char why[256] = "";
    enum part_state state = service_state(service, why, sizeof why);

    answer(request, part_takes_work(state) ? 200 : 503,
           part_takes_work(state) ? "started" : part_state_name(state), why);
}
