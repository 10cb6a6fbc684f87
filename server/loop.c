/* loop.c - the event loop on libuv; the only file with uv.h.
 *
 * Handles.  libuv calls back when a handle is closed and its memory must
 * stay until then: the owners here free themselves in that callback, so that
 * *_free() may be called anywhere, also from the handle's own callback.
 *
 * Mailbox.  A stack that any thread pushes on and the loop takes whole, and
 * an eventfd that the push on an empty one writes to.  Neither a mutex nor
 * uv_async_send() (whose reader spins while a sender is between two words):
 * senders compute at the lowest priority, and one that is set aside while it
 * holds a lock would stop the loop for as long.
 *
 * SPDX-License-Identifier: MIT
 */
#include "loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "buf.h"

struct loop {
    uv_loop_t uv;
    uv_poll_t mail;
    int mail_fd;
    uv_timer_t once; /* bounds loop_run_once()                              */
    pthread_t thread;
    /* Newest first.  Release by the sender, acquire by the taker: what was
     * written before loop_post() is seen by `run`.                         */
    _Atomic(struct loop_message *) newest;
};

/* ------------------------------------------------------------------ clock */

uint64_t loop_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* ---------------------------------------------------------------- mailbox */

/* All messages, oldest first. */
static struct loop_message *take_mail(struct loop *loop)
{
    struct loop_message *message =
        atomic_exchange_explicit(&loop->newest, NULL, memory_order_acquire);
    struct loop_message *oldest = NULL;

    while (message) {
        struct loop_message *next = message->next;

        message->next = oldest;
        oldest = message;
        message = next;
    }
    return oldest;
}

/* Messages that a message posts are for the next turn: others come first. */
void loop_read_mail(struct loop *loop)
{
    assert(loop_is_mine(loop));
    struct loop_message *message = take_mail(loop);

    while (message) {
        struct loop_message *next = message->next;

        message->next = NULL;
        message->run(message);
        message = next;
    }
}

/* The counter is emptied before the stack is taken: a push after the taking
 * finds the stack empty and writes again.                                   */
static void on_mail(uv_poll_t *handle, int status, int events)
{
    struct loop *loop = handle->data;
    uint64_t n;

    (void)status;
    (void)events;
    if (read(loop->mail_fd, &n, sizeof n) < 0)
        n = 0; /* another turn has emptied it                                */
    loop_read_mail(loop);
}

void loop_post(struct loop *loop, struct loop_message *message)
{
    struct loop_message *below =
        atomic_load_explicit(&loop->newest, memory_order_relaxed);
    const uint64_t one = 1;
    ssize_t written;

    do {
        message->next = below;
    } while (!atomic_compare_exchange_weak_explicit(
        &loop->newest, &below, message, memory_order_release,
        memory_order_relaxed));
    if (below)
        return; /* who found it empty wakes the loop                         */
    written = write(loop->mail_fd, &one, sizeof one);
    (void)written; /* fails only when it is readable anyway                  */
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
    loop->mail_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->mail_fd < 0 ||
        uv_poll_init(&loop->uv, &loop->mail, loop->mail_fd) != 0) {
        (void)uv_loop_close(&loop->uv);
        if (loop->mail_fd >= 0)
            (void)close(loop->mail_fd);
        mem_free(loop);
        return NULL;
    }
    (void)uv_poll_start(&loop->mail, UV_READABLE, on_mail);
    (void)uv_timer_init(&loop->uv, &loop->once);
    loop->mail.data = loop;
    loop->once.data = loop;
    loop->thread = pthread_self();
    atomic_init(&loop->newest, NULL);
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
    while (atomic_load_explicit(&loop->newest, memory_order_relaxed))
        loop_read_mail(loop);
    (void)uv_poll_stop(&loop->mail);
    uv_close((uv_handle_t *)&loop->mail, NULL);
    uv_close((uv_handle_t *)&loop->once, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* close callbacks, last tasks */
    while (uv_loop_close(&loop->uv) == UV_EBUSY)
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    (void)close(loop->mail_fd);
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
    (void)setpriority(PRIO_PROCESS, 0, LOOP_HELPER_NICE);
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
