/* fuzz_upload.c - a picture in a request: what is taken is a picture within
 * the limits, what is not says why.
 *
 * SPDX-License-Identifier: MIT
 */
#include "server_fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "upload.h"

void fuzz_upload(const uint8_t *bytes, size_t n)
{
    char *text = mem_zero(n + 1, 1);
    struct upload upload;
    char why[256];

    if (text == NULL)
        return;
    memcpy(text, bytes, n);
    if (upload_read(&upload, NULL, text, why, sizeof why)) {
        if (upload.blob == NULL || upload.width < 1 || upload.height < 1 ||
            upload.width > UPLOAD_MAX_EDGE || upload.height > UPLOAD_MAX_EDGE ||
            upload_bytes(&upload) > n)
            abort();
    } else if (upload.blob != NULL || why[0] == '\0') {
        abort();
    }
    upload_fini(&upload);
    mem_free(text);
}

FUZZ_ENTRY(fuzz_upload)
