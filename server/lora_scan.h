/* lora_scan.h - reading the folder of LoRAs.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_LORA_SCAN_H
#define SERVER_LORA_SCAN_H

#include <stdatomic.h>

#include "loras.h"

/* What is read, and what came of it. */
struct lora_folder {
    const char *path;
    size_t max_files;
    uint64_t max_bytes;       /* of a file                           */
    struct lora_file **known; /* by name; they stay while this reads */
    size_t n_known;
    atomic_bool is_stopping; /* set by the loop: leave the rest     */

    struct lora_file **files; /* by name: known ones, or new                 */
    size_t n;
    size_t n_left_out;
    bool is_good;  /* the folder could be read and memory was there          */
    char why[256]; /* it was not; for people                                 */
};

/* Any thread.  On failure nothing is in files. */
void lora_folder_read(struct lora_folder *folder);

/* The one of this name in a table by name, or NULL. */
struct lora_file *lora_file_find(struct lora_file *const *files, size_t n,
                                 const char *name);

void lora_file_free(struct lora_file *file); /* NULL allowed */

#endif
