/* loras.c - the LoRAs that requests may name: the files of one folder.
 *
 * SPDX-License-Identifier: MIT
 */
#include "loras.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "buf.h"
#include "log.h"
#include "lora_scan.h"
#include "loop.h"

struct lora_waiter {
    struct lora_waiter *next;
    void (*done)(void *user);
    void *user;
};

struct lora_scan {
    struct loop_task task; /* first member                                   */
    struct loras *loras;
    struct lora_folder folder;
};

/* -------------------------------------------------------------- finding -- */

static const char *folder_of(const struct config *config)
{
    return config->lora_dir != NULL ? config->lora_dir : "";
}

const struct lora_file *loras_find(const struct loras *loras, const char *name)
{
    return loras != NULL ? lora_file_find(loras->files, loras->n, name) : NULL;
}

size_t loras_nearest(const struct loras *loras, const char *name,
                     const char **out, size_t most)
{
    size_t n_names = loras != NULL ? loras->n : 0, n = 0;
    const char **names = mem_zero(n_names + 1, sizeof *names);
    int nearest;

    if (names == NULL)
        return 0;
    for (size_t i = 0; i < n_names; i++)
        names[i] = loras->files[i]->name;
    while (n < most && n < n_names &&
           (nearest = unstir_nearest(name, names, n_names - n)) >= 0) {
        out[n++] = names[nearest];
        names[nearest] = names[n_names - n];
    }
    if (n == 0 && n_names == 1 && most > 0)
        out[n++] = loras->files[0]->name; /* a choice of one is near enough */
    mem_free(names);
    return n;
}

/* ------------------------------------------------------------- scanning -- */

static void start_scan(struct loras *loras);

/* Each is ended before it is called: it may ask again. */
static void answer(struct loras *loras)
{
    while (loras->asking != NULL) {
        struct lora_waiter *waiter = loras->asking;
        struct lora_waiter ended = *waiter;

        loras->asking = waiter->next;
        mem_free(waiter);
        ended.done(ended.user);
    }
}

static void tell_file(const struct lora_file *file)
{
    struct log_line line;

    log_begin(&line, file->is_usable ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
              file->is_usable ? "LoRA found" : "LoRA cannot be used");
    log_text(&line, "lora", file->name);
    if (file->is_usable)
        log_int(&line, "bytes", (int64_t)file->details.n_bytes);
    else
        log_text(&line, "why", file->why);
    log_end(&line);
}

static bool is_among(struct lora_file *const *files, size_t n,
                     const struct lora_file *file)
{
    return lora_file_find(files, n, file->name) == file;
}

/* The old table ends but for what the new one kept. */
static void replace(struct loras *loras, struct lora_folder *folder)
{
    for (size_t i = 0; i < folder->n; i++)
        if (!is_among(loras->files, loras->n, folder->files[i]))
            tell_file(folder->files[i]);
    for (size_t i = 0; i < loras->n; i++)
        if (!is_among(folder->files, folder->n, loras->files[i]))
            lora_file_free(loras->files[i]);
    if (folder->n_left_out > 0 && folder->n_left_out != loras->n_left_out) {
        struct log_line line;

        log_begin(&line, LOG_LEVEL_WARN, "more LoRAs than --max-loras");
        log_int(&line, "left_out", (int64_t)folder->n_left_out);
        log_end(&line);
    }
    mem_free(loras->files);
    loras->files = folder->files;
    loras->n = folder->n;
    loras->n_left_out = folder->n_left_out;
    folder->files = NULL;
}

/* A folder that cannot be read now (a share that is away) keeps its table. */
static void tell_unreadable(struct loras *loras, const char *why)
{
    if (!loras->is_unreadable)
        log_event(LOG_LEVEL_WARN, "folder of LoRAs cannot be read", "why", why);
    loras->is_unreadable = true;
}

static void drop_new(struct loras *loras, struct lora_folder *folder)
{
    for (size_t i = 0; i < folder->n; i++)
        if (!is_among(loras->files, loras->n, folder->files[i]))
            lora_file_free(folder->files[i]);
}

static void scan_done(struct loop_task *task)
{
    struct lora_scan *scan = (struct lora_scan *)task;
    struct loras *loras = scan->loras;

    loras->scan = NULL;
    loras->is_read = true;
    if (atomic_load(&scan->folder.is_stopping)) {
        drop_new(loras, &scan->folder);
    } else if (scan->folder.is_good) {
        loras->is_unreadable = false;
        replace(loras, &scan->folder);
    } else {
        tell_unreadable(loras, scan->folder.why);
    }
    mem_free(scan->folder.files);
    mem_free(scan->folder.known);
    mem_free(scan);
    answer(loras);
    if (loras->waiting != NULL)
        start_scan(loras);
}

static void run_scan(struct loop_task *task)
{
    lora_folder_read(&((struct lora_scan *)task)->folder);
}

static struct lora_scan *new_scan(struct loras *loras)
{
    const struct config *config = loras->service->config;
    struct lora_scan *scan = mem_zero(1, sizeof *scan);

    if (scan == NULL)
        return NULL;
    scan->task = (struct loop_task){.run = run_scan, .done = scan_done};
    scan->loras = loras;
    scan->folder.path = folder_of(config);
    scan->folder.max_files = (size_t)config->max_loras;
    scan->folder.max_bytes = config->lora_bytes;
    atomic_init(&scan->folder.is_stopping, false);
    scan->folder.known = mem_zero(loras->n + 1, sizeof(struct lora_file *));
    if (scan->folder.known == NULL) {
        mem_free(scan);
        return NULL;
    }
    for (size_t i = 0; i < loras->n; i++)
        scan->folder.known[i] = loras->files[i];
    scan->folder.n_known = loras->n;
    return scan;
}

/* Without memory those who wait get what is known. */
static void start_scan(struct loras *loras)
{
    struct lora_scan *scan = new_scan(loras);

    loras->asking = loras->waiting;
    loras->waiting = NULL;
    if (scan != NULL && loop_offload(loras->service->loop, &scan->task)) {
        loras->scan = scan;
        return;
    }
    if (scan != NULL)
        mem_free(scan->folder.known);
    mem_free(scan);
    answer(loras);
}

static void scan_now(void *user)
{
    struct loras *loras = user;

    if (loras->scan == NULL)
        start_scan(loras);
}

struct lora_waiter *loras_refresh(struct loras *loras, void (*done)(void *user),
                                  void *user)
{
    struct lora_waiter *waiter;

    if (loras->timer == NULL)
        return NULL; /* there is no folder */
    waiter = mem_zero(1, sizeof *waiter);
    if (waiter == NULL)
        return NULL;
    *waiter = (struct lora_waiter){loras->waiting, done, user};
    loras->waiting = waiter;
    loop_timer_start(loras->timer, 0, LORAS_SCAN_MS);
    return waiter;
}

static void forget(struct lora_waiter **at, struct lora_waiter *waiter)
{
    while (*at != NULL && *at != waiter)
        at = &(*at)->next;
    if (*at == NULL)
        return;
    *at = waiter->next;
    mem_free(waiter);
}

void loras_forget(struct loras *loras, struct lora_waiter *waiter)
{
    forget(&loras->waiting, waiter);
    forget(&loras->asking, waiter);
}

/* ------------------------------------------------------------ the part -- */

bool loras_check(const struct config *config, char *why, size_t why_size)
{
    const char *path = folder_of(config);
    struct stat status;

    if (path[0] == '\0' ||
        (stat(path, &status) == 0 && S_ISDIR(status.st_mode)))
        return true;
    (void)snprintf(why, why_size, "--lora-dir %.200s: no such folder", path);
    return false;
}

bool loras_open(struct service *service, char *why, size_t why_size)
{
    struct loras *loras;

    if (!loras_check(service->config, why, why_size))
        return false;
    (void)snprintf(why, why_size, "out of memory");
    loras = mem_zero(1, sizeof *loras);
    if (loras == NULL)
        return false;
    loras->service = service;
    service->loras = loras;
    if (folder_of(service->config)[0] == '\0') {
        loras->is_read = true;
        return true;
    }
    loras->timer = loop_timer_new(service->loop, scan_now, loras);
    if (loras->timer == NULL) {
        loras_close(service);
        return false;
    }
    loop_timer_start(loras->timer, 0, LORAS_SCAN_MS);
    return true;
}

/* Ready once the folder has been read: what is in it can be named then. */
enum part_state loras_state(const struct service *service, char *why,
                            size_t why_size)
{
    if (service->loras->is_read)
        return PART_READY;
    (void)snprintf(why, why_size, "the LoRAs are being read");
    return PART_STARTING;
}

void loras_stop(struct service *service)
{
    struct loras *loras = service->loras;

    loop_timer_free(loras->timer);
    loras->timer = NULL;
    if (loras->scan != NULL)
        atomic_store(&loras->scan->folder.is_stopping, true);
    answer(loras);
    loras->asking = loras->waiting;
    loras->waiting = NULL;
    answer(loras);
}

void loras_close(struct service *service)
{
    struct loras *loras = service->loras;

    if (loras == NULL)
        return;
    loras_stop(service);
    while (loras->scan != NULL)
        loop_run_once(service->loop, 100);
    for (size_t i = 0; i < loras->n; i++)
        lora_file_free(loras->files[i]);
    mem_free(loras->files);
    mem_free(loras);
    service->loras = NULL;
}
