/* blob.c - bytes with a count of holders, and the answers sent from them.
 *
 * SPDX-License-Identifier: MIT
 */
#include "blob.h"

#include "answers.h"
#include "buf.h"

struct blob *blob_new(uint8_t *bytes, size_t n_bytes,
                      void (*release)(void *bytes))
{
    struct blob *blob = mem_zero(1, sizeof *blob);

    if (blob == NULL)
        return NULL;
    *blob = (struct blob){
        .n_holders = 1, .n_bytes = n_bytes, .bytes = bytes, .release = release};
    ring_init(&blob->readers);
    return blob;
}

struct blob *blob_hold(struct blob *blob)
{
    blob->n_holders++;
    return blob;
}

void blob_drop(struct blob *blob)
{
    if (blob == NULL || --blob->n_holders > 0)
        return;
    blob->release((void *)blob->bytes);
    mem_free(blob);
}

void blob_read(struct blob *blob, struct blob_reader *reader)
{
    reader->blob = blob_hold(blob);
    ring_add(&blob->readers, &reader->link);
}

void blob_read_end(struct blob_reader *reader)
{
    struct blob *blob = reader->blob;

    ring_remove(&reader->link);
    if (blob->answers != NULL && ring_is_empty(&blob->readers))
        (void)answers_hold(blob->answers, &blob->n_held, 0);
    blob_drop(blob);
}

void blob_leave_store(struct blob *blob, struct answers *answers)
{
    struct ring *next;

    if (!ring_is_empty(&blob->readers)) {
        blob->answers = answers;
        if (!answers_hold(answers, &blob->n_held, blob->n_bytes))
            for (struct ring *at = blob->readers.next; at != &blob->readers;
                 at = next) {
                struct blob_reader *reader =
                    RING_OF(at, struct blob_reader, link);

                next = at->next; /* it may end at once                       */
                reader->cut(reader->user);
            }
    }
    blob_drop(blob);
}
