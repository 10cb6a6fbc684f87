/* blob.h - bytes with a count of holders, and the answers sent from them.
 *
 * A finished picture is a blob: its store holds it, and so does each answer
 * that sends it, which is one of its readers.  What the store lets go while
 * somebody still reads it counts from then on with the answers that clients
 * have yet to take (answers.h), once, however many read it; if it finds no room
 * there, its readers are cut off.  So slow readers keep no more memory than
 * that room, however many pictures come and go meanwhile.
 *
 * Threads: loop only, but for blob_new().
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SERVER_BLOB_H
#define SERVER_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "ring.h"

struct answers;

struct blob {
    size_t n_holders;
    size_t n_bytes;
    const uint8_t *bytes;
    void (*release)(void *bytes);
    struct ring readers;
    struct answers *answers; /* that it counts with; NULL: a store holds it  */
    size_t n_held;           /* of their room                                */
};

/* The reader's own; it stays where it is from blob_read() to blob_read_end(). */
struct blob_reader {
    struct ring link;
    struct blob *blob;
    void (*cut)(void *user); /* soon after it, blob_read_end() is called     */
    void *user;
};

/* One holder, the caller.  `bytes` (ended by `release`) belongs to the blob
 * on success only; NULL without memory. */
struct blob *blob_new(uint8_t *bytes, size_t n_bytes,
                      void (*release)(void *bytes));
struct blob *blob_hold(struct blob *blob);
void blob_drop(struct blob *blob); /* NULL allowed */

/* Hold it as a reader does; cut and user are set. */
void blob_read(struct blob *blob, struct blob_reader *reader);
void blob_read_end(struct blob_reader *reader);

/* As blob_drop() by the store: whoever reads it now keeps it as an answer. */
void blob_leave_store(struct blob *blob, struct answers *answers);

#endif
