/* lane.c - one helper thread that does pieces of work one after the other.
 *
 * SPDX-License-Identifier: MIT
 */
#include "lane.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/resource.h>

#include "buf.h"

struct lane {
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows; no other is held with it  */
    pthread_cond_t news;
    struct lane_task *first, **last;
    bool is_ending;
};

/* ------------------------------------------------------------- the thread */

/* NULL: the end. */
static struct lane_task *wait_for_task(struct lane *lane)
{
    struct lane_task *task;

    (void)pthread_mutex_lock(&lane->mutex);
    while (lane->first == NULL && !lane->is_ending)
        (void)pthread_cond_wait(&lane->news, &lane->mutex);
    task = lane->is_ending ? NULL : lane->first;
    if (task != NULL) {
        lane->first = task->next;
        if (lane->first == NULL)
            lane->last = &lane->first;
    }
    (void)pthread_mutex_unlock(&lane->mutex);
    return task;
}

static void on_done(struct loop_message *message)
{
    struct lane_task *task = (struct lane_task *)message;

    task->done(task);
}

static void *work(void *user)
{
    struct lane *lane = user;
    struct lane_task *task;

    /* This thread only (Linux); a refusal costs smoothness, not results.    */
    (void)setpriority(PRIO_PROCESS, 0, LOOP_HELPER_NICE);
    while ((task = wait_for_task(lane)) != NULL) {
        task->run(task);
        loop_post(lane->loop, &task->message);
    }
    return NULL;
}

/* --------------------------------------------------------------- the loop */

struct lane *lane_new(struct loop *loop)
{
    struct lane *lane = mem_zero(1, sizeof *lane);

    assert(loop_is_mine(loop));
    if (lane == NULL)
        return NULL;
    lane->loop = loop;
    lane->last = &lane->first;
    (void)pthread_mutex_init(&lane->mutex, NULL); /* cannot fail on Linux    */
    (void)pthread_cond_init(&lane->news, NULL);
    if (pthread_create(&lane->thread, NULL, work, lane) != 0) {
        mem_free(lane);
        return NULL;
    }
    return lane;
}

void lane_add(struct lane *lane, struct lane_task *task)
{
    assert(loop_is_mine(lane->loop));
    task->message = (struct loop_message){.run = on_done};
    task->next = NULL;
    (void)pthread_mutex_lock(&lane->mutex);
    *lane->last = task;
    lane->last = &task->next;
    (void)pthread_cond_signal(&lane->news);
    (void)pthread_mutex_unlock(&lane->mutex);
}

bool lane_remove(struct lane *lane, struct lane_task *task)
{
    struct lane_task **at = &lane->first;
    bool is_found;

    assert(loop_is_mine(lane->loop));
    (void)pthread_mutex_lock(&lane->mutex);
    while (*at != NULL && *at != task)
        at = &(*at)->next;
    is_found = *at != NULL;
    if (is_found) {
        *at = task->next;
        if (*at == NULL)
            lane->last = at;
    }
    (void)pthread_mutex_unlock(&lane->mutex);
    return is_found;
}

void lane_free(struct lane *lane)
{
    struct lane_task *task, *next;

    if (lane == NULL)
        return;
    assert(loop_is_mine(lane->loop));
    (void)pthread_mutex_lock(&lane->mutex);
    lane->is_ending = true;
    (void)pthread_cond_signal(&lane->news);
    (void)pthread_mutex_unlock(&lane->mutex);
    (void)pthread_join(lane->thread, NULL);
    loop_read_mail(lane->loop); /* `done` of what was under way              */
    for (task = lane->first; task != NULL; task = next) {
        next = task->next;
        task->done(task);
    }
    (void)pthread_cond_destroy(&lane->news);
    (void)pthread_mutex_destroy(&lane->mutex);
    mem_free(lane);
}
