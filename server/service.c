/* service.c - the parts of the service: opened in order, ended in reverse.
 *
 * SPDX-License-Identifier: MIT
 */
#include "service.h"

#include <stdio.h>

#include "intake.h"
#include "jobs.h"
#include "loras.h"
#include "models.h"

#define WHY_BYTES 512

static const struct service_part parts[] = {
#define PART(part, ...) \
    {.name = #part, .open = part##_open, .close = part##_close, __VA_ARGS__},
#include "parts_table.h"
#undef PART
};
#define N_PARTS (sizeof parts / sizeof *parts)

bool service_open(struct service *service, char *why, size_t why_size)
{
    while (service->n_open < N_PARTS) {
        char text[WHY_BYTES] = "";

        if (!parts[service->n_open].open(service, text, sizeof text)) {
            (void)snprintf(why, why_size, "%.400s", text);
            return false;
        }
        service->n_open++;
    }
    return true;
}

enum part_state service_state(const struct service *service, char *why,
                              size_t why_size)
{
    enum part_state worst = PART_READY;

    if (why_size > 0)
        why[0] = '\0';
    for (size_t i = 0; i < N_PARTS; i++) {
        char text[WHY_BYTES] = "";
        enum part_state state = parts[i].state != NULL
                                    ? parts[i].state(service, text, sizeof text)
                                    : PART_READY;

        if (state <= worst)
            continue;
        worst = state;
        (void)snprintf(why, why_size, "%s: %.200s", parts[i].name, text);
    }
    return worst;
}

bool part_takes_work(enum part_state state)
{
    return state <= PART_DEGRADED;
}

const char *part_state_name(enum part_state state)
{
    static const char *const names[] = {[PART_READY] = "ready",
                                        [PART_DEGRADED] = "degraded",
                                        [PART_STARTING] = "starting",
                                        [PART_FAILED] = "failed"};

    return names[state];
}

void service_drain(struct service *service)
{
    service->is_draining = true;
    for (size_t i = 0; i < N_PARTS; i++)
        if (parts[i].drain != NULL)
            parts[i].drain(service);
}

size_t service_busy(const struct service *service)
{
    size_t sum = 0;

    for (size_t i = 0; i < N_PARTS; i++)
        if (parts[i].busy != NULL)
            sum += parts[i].busy(service);
    return sum;
}

void service_stop(struct service *service)
{
    service->is_draining = true;
    for (size_t i = service->n_open; i > 0; i--)
        if (parts[i - 1].stop != NULL)
            parts[i - 1].stop(service);
}

void service_close(struct service *service)
{
    while (service->n_open > 0)
        parts[--service->n_open].close(service);
}
