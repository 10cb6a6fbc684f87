/* digest_file.h - what sha256sum says of a file, remembered between starts.
 *
 * Hashing gigabytes takes seconds of every start.  A memo is a small text file
 * in the folder of the pack cache:
 *
 *     unstir digest 1
 *     DEVICE INODE BYTES MTIME CTIME      (times in nanoseconds)
 *     64 hex digits of the file
 *     64 hex digits of the lines above
 *
 * It answers for a file whose five numbers are those of the memo, as the
 * system told them for the very descriptor that was mapped: a change of the
 * contents changes the time of change, which no program can set.  A file that
 * changed within the last seconds is hashed and not remembered: a second
 * change could fall into the same tick of the clock.
 *
 * A memo is as trusted as a pack file: it must belong to this user or root and
 * be writable by nobody else.  One that is missing, damaged or of another file
 * is written anew; a folder that cannot be read or written is no error.  There
 * are 256 places, chosen by the numbers; a newcomer takes its place.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef FORMAT_DIGEST_FILE_H
#define FORMAT_DIGEST_FILE_H

#include <stdbool.h>

#include "base/mapfile.h"

struct cancel;

/* What a memo says; false: none answers.  memos: the folder, or NULL: nothing
 * is remembered.  Both: any thread. */
bool digest_file_recall(char hex[65], const struct mapfile *file,
                        const char *memos);

/* Read the file in pieces, whose pages the system then has again, and leave a
 * memo.  UNSTIR_ERR_CANCELLED: `cancel`, polled before each piece, was raised.
 */
enum unstir_status digest_file_anew(char hex[65], const struct mapfile *file,
                                    const char *memos,
                                    const struct cancel *cancel,
                                    struct unstir_error *err);

#endif
