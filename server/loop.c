/* loop.c - the event loop on libuv; the only file with uv.h.
 *
 * Handles.  libuv calls back when a handle is closed and its memory must
 * stay until then: the owners here free themselves in that callback, so that
 * *_free() may be called anywhere, also from the handle's own callback.
 *
 * Mailbox.  A list under a mutex and one uv_async_t.  Async sends coalesce:
 * the callback takes the whole list, in order.  The mutex guards the list's
 * ends only and is never held over a callback.
 *
 * SPDX-License-Identifier: MIT
 */
#include "loop.h"

#include <assert.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

#include "buf.h"

#define HELPER_NICE 10

struct loop {
    uv_loop_t uv;
    uv_async_t mail;
    uv_timer_t once; /* bounds loop_run_once()                              */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards head and tail                          */
    struct loop_message *head, **tail;
};

/* ------------------------------------------------------------------ clock */

uint64_t loop_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* ---------------------------------------------------------------- mailbox */

static struct loop_message *take_mail(struct loop *loop)
{
    struct loop_message *first;

    (void)pthread_mutex_lock(&loop->mutex);
    first = loop->head;
    loop->head = NULL;
    loop->tail = &loop->head;
    (void)pthread_mutex_unlock(&loop->mutex);
    return first;
}

/* Messages that a message posts are for the next turn: others come first. */
static void on_mail(uv_async_t *handle)
{
    struct loop *loop = handle->data;
    struct loop_message *message = take_mail(loop);

    while (message) {
        struct loop_message *next = message->next;

        message->next = NULL;
        message->run(message);
        message = next;
    }
}

void loop_post(struct loop *loop, struct loop_message *message)
{
    message->next = NULL;
    (void)pthread_mutex_lock(&loop->mutex);
    *loop->tail = message;
    loop->tail = &message->next;
    (void)pthread_mutex_unlock(&loop->mutex);
    (void)uv_async_send(&loop->mail);
}

/* ------------------------------------------------------------------- life */

struct loop *loop_new(void)
{
    struct loop *loop = mem_zero(1, sizeof *loop);

    if (!loop)
        return NULL;
    if (uv_loop_init(&loop->uv) != 0) {
        mem_free(loop);
        return NULL;
    }
    if (uv_async_init(&loop->uv, &loop->mail, on_mail) != 0) {
        (void)uv_loop_close(&loop->uv);
        mem_free(loop);
        return NULL;
    }
    (void)uv_timer_init(&loop->uv, &loop->once);
    loop->mail.data = loop;
    loop->once.data = loop;
    loop->thread = pthread_self();
    (void)pthread_mutex_init(&loop->mutex, NULL);
    loop->tail = &loop->head;
    return loop;
}

bool loop_is_mine(const struct loop *loop)
{
    return pthread_equal(loop->thread, pthread_self()) != 0;
}

void loop_run(struct loop *loop)
{
    assert(loop_is_mine(loop));
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_stop(struct loop *loop)
{
    assert(loop_is_mine(loop));
    uv_stop(&loop->uv);
}

static void on_once(uv_timer_t *handle)
{
    (void)handle;
}

void loop_run_once(struct loop *loop, uint64_t timeout_ms)
{
    assert(loop_is_mine(loop));
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->once, on_once, timeout_ms, 0);
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
    (void)uv_timer_stop(&loop->once);
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    assert(loop_is_mine(loop));
    while (loop->head)
        on_mail(&loop->mail);
    uv_close((uv_handle_t *)&loop->mail, NULL);
    uv_close((uv_handle_t *)&loop->once, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* close callbacks, last tasks */
    while (uv_loop_close(&loop->uv) == UV_EBUSY)
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    (void)pthread_mutex_destroy(&loop->mutex);
    mem_free(loop);
}

/* ----------------------------------------------------------------- timers */

struct loop_timer {
    uv_timer_t uv; /* first: closing finds the owner by it                  */
    struct loop *loop;
    loop_fn fn;
    void *user;
};

static void on_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn fn, void *user)
{
    struct loop_timer *timer = mem_zero(1, sizeof *timer);

    assert(loop_is_mine(loop));
    if (!timer)
        return NULL;
    (void)uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->loop = loop;
    timer->fn = fn;
    timer->user = user;
    return timer;
}

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;

    timer->fn(timer->user);
}

void loop_timer_start(struct loop_timer *timer, uint64_t delay_ms,
                      uint64_t repeat_ms)
{
    assert(loop_is_mine(timer->loop));
    uv_update_time(&timer->loop->uv); /* timers count from the cached time   */
    (void)uv_timer_start(&timer->uv, on_timer, delay_ms, repeat_ms);
}

void loop_timer_stop(struct loop_timer *timer)
{
    assert(loop_is_mine(timer->loop));
    (void)uv_timer_stop(&timer->uv);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (!timer)
        return;
    assert(loop_is_mine(timer->loop));
    uv_close((uv_handle_t *)&timer->uv, on_closed);
}

/* ------------------------------------------------- descriptors and signals */

struct loop_watch {
    uv_poll_t uv;
    struct loop *loop;
    loop_fn fn;
    void *user;
};

static void on_readable(uv_poll_t *handle, int status, int events)
{
    struct loop_watch *watch = handle->data;

    (void)status; /* an error is found by whoever reads                      */
    (void)events;
    watch->fn(watch->user);
}

struct loop_watch *loop_watch_new(struct loop *loop, int fd, loop_fn fn,
                                  void *user)
{
    struct loop_watch *watch = mem_zero(1, sizeof *watch);

    assert(loop_is_mine(loop));
    if (!watch || uv_poll_init(&loop->uv, &watch->uv, fd) != 0) {
        mem_free(watch);
        return NULL;
    }
    watch->uv.data = watch;
    watch->loop = loop;
    watch->fn = fn;
    watch->user = user;
    (void)uv_poll_start(&watch->uv, UV_READABLE, on_readable);
    return watch;
}

void loop_watch_free(struct loop_watch *watch)
{
    if (!watch)
        return;
    assert(loop_is_mine(watch->loop));
    (void)uv_poll_stop(&watch->uv);
    uv_close((uv_handle_t *)&watch->uv, on_closed);
}

struct loop_signal {
    uv_signal_t uv;
    struct loop *loop;
    loop_fn fn;
    void *user;
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct loop_signal *signal = handle->data;

    (void)number;
    signal->fn(signal->user);
}

struct loop_signal *loop_signal_new(struct loop *loop, int number, loop_fn fn,
                                    void *user)
{
    struct loop_signal *signal = mem_zero(1, sizeof *signal);

    assert(loop_is_mine(loop));
    if (!signal)
        return NULL;
    (void)uv_signal_init(&loop->uv, &signal->uv);
    signal->uv.data = signal;
    signal->loop = loop;
    signal->fn = fn;
    signal->user = user;
    (void)uv_signal_start(&signal->uv, on_signal, number);
    return signal;
}

void loop_signal_free(struct loop_signal *signal)
{
    if (!signal)
        return;
    assert(loop_is_mine(signal->loop));
    uv_close((uv_handle_t *)&signal->uv, on_closed);
}

/* --------------------------------------------------------- work elsewhere */

struct offload {
    uv_work_t uv;
    struct loop_task *task;
};

static void on_helper(uv_work_t *work)
{
    struct offload *offload = work->data;

    /* This thread only (Linux); a refusal costs smoothness, not results.    */
    (void)setpriority(PRIO_PROCESS, 0, HELPER_NICE);
    offload->task->run(offload->task);
}

static void on_worked(uv_work_t *work, int status)
{
    struct offload *offload = work->data;
    struct loop_task *task = offload->task;

    (void)status; /* never cancelled                                         */
    mem_free(offload);
    task->done(task);
}

bool loop_offload(struct loop *loop, struct loop_task *task)
{
    struct offload *offload = mem_zero(1, sizeof *offload);

    assert(loop_is_mine(loop));
    if (!offload)
        return false;
    offload->uv.data = offload;
    offload->task = task;
    if (uv_queue_work(&loop->uv, &offload->uv, on_helper, on_worked) != 0) {
        mem_free(offload);
        return false;
    }
    return true;
}
