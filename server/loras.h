/* loras.h - the LoRAs that requests may name: the files of one folder.
 *
 * A part of the service.  --lora-dir is read by a helper thread at the start,
 * then again every LORAS_SCAN_MS and for every GET /v1/loras, so that a new
 * file is found without a restart.  A file is opened, checked and hashed when
 * it is new or has changed (size, times, inode); one that cannot be used stays
 * in the table with the reason.
 *
 * Names.  NAME.safetensors is the LoRA "NAME": 1 to LORA_NAME_BYTES bytes of
 * UTF-8 without control characters and without any of / \ : < > , and not
 * beginning with a point.  Files of other names, folders and what is no
 * regular file are passed over, and so are symbolic links that lead out of
 * the folder; links that stay in it are followed.  A name is a key of this
 * table, never a path.
 *
 * Ceilings: --max-loras files, --lora-bytes of each.
 *
 * Threads: loop only.  Entries do not change while they are in the table.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LORAS_H
#define SERVER_LORAS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "service.h"
#include "unstir.h"

#define LORA_NAME_BYTES 128
#define LORAS_SCAN_MS   2000

/* Of a file: while it is the same, so is the content. */
struct lora_stamp {
    uint64_t n_bytes, inode, device;
    int64_t modified_ns, changed_ns;
};

struct lora_file {
    char name[LORA_NAME_BYTES + 1];
    char *path; /* never shown to a client                                   */
    struct lora_stamp stamp;
    bool is_usable;
    char why[256]; /* it is not; for clients                                 */
    struct unstir_lora_details details;
};

struct lora_waiter;
struct lora_scan;

struct loras {
    struct service *service;
    struct lora_file **files; /* by name                                     */
    size_t n;
    size_t n_left_out;      /* beyond --max-loras                            */
    bool is_read;           /* once at least                                 */
    bool is_unreadable;     /* the folder, the last time                     */
    struct lora_scan *scan; /* in the hands of a helper thread               */
    struct loop_timer *timer;
    struct lora_waiter *waiting; /* for the next scan                        */
    struct lora_waiter *asking;  /* for this one                             */
};

/* Is this the name of a LoRA? */
bool lora_is_name(const char *name, size_t n);

/* NULL if there is none; also without --lora-dir. */
const struct lora_file *loras_find(const struct loras *loras, const char *name);

/* The names nearest to this one, the nearest first; at most `most`. */
size_t loras_nearest(const struct loras *loras, const char *name,
                     const char **out, size_t most);

/* Call done(user) when the folder has been read anew.  Returns what
 * loras_forget() takes, for who does not want to wait any more; NULL without
 * memory. */
struct lora_waiter *loras_refresh(struct loras *loras, void (*done)(void *user),
                                  void *user);
void loras_forget(struct loras *loras, struct lora_waiter *waiter);

/* Whether --lora-dir is a folder.  False: *why says what is wrong. */
bool loras_check(const struct config *config, char *why, size_t why_size);

/* The part (service.h). */
bool loras_open(struct service *service, char *why, size_t why_size);
enum part_state loras_state(const struct service *service, char *why,
                            size_t why_size);
void loras_stop(struct service *service);
void loras_close(struct service *service);

#endif
