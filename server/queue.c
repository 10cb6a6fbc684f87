/* queue.c - who is served next, and when.
 *
 * SPDX-License-Identifier: MIT
 */
#include "queue.h"

#include <assert.h>
#include <string.h>

void queue_init(struct queue *queue, size_t max_fresh, double max_s,
                double quantum_s)
{
    memset(queue, 0, sizeof *queue);
    for (int i = 0; i < QUEUE_N_CLASSES; i++)
        ring_init(&queue->classes[i]);
    queue->max_fresh = max_fresh;
    queue->max_s = max_s;
    queue->quantum_s = quantum_s;
}

/* Class 0 is served first. */
static struct ring *class_of(struct queue *queue, const struct queue_item *item)
{
    assert(item->priority >= -1 && item->priority <= 1);
    return &queue->classes[1 - item->priority];
}

void queue_push(struct queue *queue, struct queue_item *item)
{
    assert(!ring_is_in(&item->link));
    ring_add(class_of(queue, item), &item->link);
    queue->n++;
    queue->n_fresh += !item->has_begun;
}

void queue_remove(struct queue *queue, struct queue_item *item)
{
    assert(ring_is_in(&item->link));
    ring_remove(&item->link);
    queue->n--;
    queue->n_fresh -= !item->has_begun;
}

/* The first one and the next one of a class; NULL behind the last. */
static struct queue_item *item_at(const struct ring *class,
                                  const struct ring *link)
{
    return link == class ? NULL : RING_OF(link, struct queue_item, link);
}

static struct queue_item *first_of(const struct ring *class)
{
    return item_at(class, class->next);
}

static struct queue_item *next_of(const struct ring *class,
                                  const struct queue_item *item)
{
    return item_at(class, item->link.next);
}

static struct queue_item *first_that(const struct ring *class,
                                     queue_filter_fn may_run, void *user)
{
    struct queue_item *item = first_of(class);

    while (item != NULL && may_run != NULL && !may_run(user, item))
        item = next_of(class, item);
    return item;
}

struct queue_item *queue_pop_if(struct queue *queue, queue_filter_fn may_run,
                                void *user)
{
    struct queue_item *item = NULL;
    bool is_low_turn;

    if (queue->n == 0)
        return NULL;
    is_low_turn = (queue->n_turns + 1) % QUEUE_LOW_TURN == 0;
    for (int i = 0; i < QUEUE_N_CLASSES && item == NULL; i++)
        item = first_that(
            &queue->classes[is_low_turn ? QUEUE_N_CLASSES - 1 - i : i], may_run,
            user);
    if (item == NULL)
        return NULL;
    queue->n_turns++;
    queue_remove(queue, item);
    item->has_begun = true;
    return item;
}

struct queue_item *queue_pop(struct queue *queue)
{
    return queue_pop_if(queue, NULL, NULL);
}

static double at_most(double a, double b)
{
    return a < b ? a : b;
}

static double n_workers(const struct queue_load *load)
{
    return load->n_workers > 1 ? load->n_workers : 1;
}

/* Seconds of work that the lists hold. */
static double listed_s(const struct queue *queue)
{
    double sum = 0;

    for (const struct ring *c = queue->classes;
         c < queue->classes + QUEUE_N_CLASSES; c++)
        for (const struct queue_item *at = first_of(c); at != NULL;
             at = next_of(c, at))
            sum += at->cost_s;
    return sum;
}

double queue_backlog_s(const struct queue *queue, const struct queue_load *load)
{
    return (listed_s(queue) + load->rest_s) / n_workers(load);
}

/* When the first job that has not begun gets its turn and leaves its place:
 * all that stand before it in the order of serving take a turn each. */
static double next_place_s(const struct queue *queue,
                           const struct queue_load *load)
{
    double sum = load->turn_s;

    for (const struct ring *c = queue->classes;
         c < queue->classes + QUEUE_N_CLASSES; c++)
        for (const struct queue_item *at = first_of(c); at != NULL;
             at = next_of(c, at)) {
            if (!at->has_begun)
                return sum;
            sum += at_most(at->cost_s, queue->quantum_s) / n_workers(load);
        }
    return sum;
}

bool queue_admits(const struct queue *queue, double cost_s,
                  const struct queue_load *load, double *wait_s)
{
    double backlog_s = queue_backlog_s(queue, load);
    double over_s = backlog_s + cost_s / n_workers(load) - queue->max_s;
    bool is_idle = queue->n == 0 && load->rest_s <= 0;

    *wait_s = 0;
    if (queue->n_fresh >= queue->max_fresh)
        *wait_s = next_place_s(queue, load);
    else if (over_s <= 0 || is_idle)
        return true; /* a job longer than the limit may run alone */
    if (over_s > *wait_s)
        *wait_s = at_most(over_s, backlog_s);
    return false;
}

struct queue_forecast queue_predict(const struct queue *queue,
                                    const struct queue_item *item,
                                    const struct queue_load *load)
{
    struct queue_forecast forecast = {.position = 1, .start_s = load->turn_s};
    double others_s = at_most(load->rest_s, item->cost_s + queue->quantum_s);
    bool is_before = true;

    for (const struct ring *c = queue->classes;
         c < queue->classes + QUEUE_N_CLASSES; c++)
        for (const struct queue_item *at = first_of(c); at != NULL;
             at = next_of(c, at)) {
            double turn_s = at_most(at->cost_s, queue->quantum_s);

            if (at == item) {
                is_before = false;
                continue;
            }
            if (is_before) {
                forecast.position += !at->has_begun;
                forecast.start_s += turn_s / n_workers(load);
                others_s += at_most(at->cost_s, item->cost_s + turn_s);
            } else {
                /* Those behind get their turns while this one waits for its
                 * second and later ones. */
                others_s += item->cost_s > queue->quantum_s
                                ? at_most(at->cost_s, item->cost_s)
                                : 0;
            }
        }
    forecast.finish_s = (others_s + item->cost_s) / n_workers(load);
    if (forecast.finish_s < forecast.start_s + item->cost_s)
        forecast.finish_s = forecast.start_s + item->cost_s;
    return forecast;
}

void queue_each(const struct queue *queue, const struct queue_load *load,
                queue_fn fn, void *user)
{
    double start_s = load->turn_s;
    unsigned position = 1;

    for (const struct ring *c = queue->classes;
         c < queue->classes + QUEUE_N_CLASSES; c++)
        for (struct queue_item *at = first_of(c); at != NULL;
             at = next_of(c, at)) {
            fn(user, at, position, start_s);
            position += !at->has_begun;
            start_s += at_most(at->cost_s, queue->quantum_s) / n_workers(load);
        }
}
