/* upload.c - a picture, or latents, that came with a request.
 *
 * SPDX-License-Identifier: MIT
 */
#include "upload.h"

#include <stdio.h>
#include <string.h>

#include "buf.h"
#include "unstir.h"

#define ARTIFACT_PREFIX "/v1/artifacts/"

/* -- base64 ------------------------------------------------------------------ */

/* Value of a letter of either alphabet (plain, URL), or -1. */
static int value_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* Line ends are passed over, as mail writes them; *n is what was written to
 * `out`, which has room for 3/4 of the text.  NULL, or the place of the first
 * letter that does not belong. */
static const char *decode(const char *text, uint8_t *out, size_t *n)
{
    uint32_t bits = 0;
    unsigned n_bits = 0;
    const char *p = text;

    *n = 0;
    for (; *p != '\0' && *p != '='; p++) {
        int v = value_of((unsigned char)*p);

        if (*p == '\r' || *p == '\n')
            continue;
        if (v < 0)
            return p;
        bits = bits << 6 | (uint32_t)v;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            out[(*n)++] = (uint8_t)(bits >> n_bits);
        }
    }
    if (n_bits == 6) /* one letter holds no byte */
        return p;
    p += strspn(p, "=\r\n");
    return *p == '\0' ? NULL : p;
}

/* Behind "data:image/png;base64,"; `text` itself if it is no data: URL, NULL
 * if it is one of another kind. */
static const char *skip_data_url(const char *text)
{
    const char *comma;

    if (strncmp(text, "data:", 5) != 0)
        return text;
    comma = strchr(text, ',');
    if (comma == NULL || comma - text < 12 ||
        strncmp(comma - 7, ";base64", 7) != 0)
        return NULL;
    return comma + 1;
}

/* -- reading ----------------------------------------------------------------- */

static void release(void *bytes)
{
    mem_free(bytes);
}

static void read_text(struct upload *out, const char *text, char *why,
                      size_t why_size)
{
    const char *at = skip_data_url(text), *wrong;
    size_t n_text = at != NULL ? strlen(at) : 0, n;
    uint8_t *bytes;

    if (at == NULL || n_text < 16) {
        (void)snprintf(why, why_size,
                       "must be base64, a data: URL with ;base64, or "
                       "/v1/artifacts/{sha256}");
        return;
    }
    bytes = mem_zero(n_text / 4 * 3 + 3, 1);
    if (bytes == NULL)
        return;
    wrong = decode(at, bytes, &n);
    if (wrong != NULL) {
        (void)snprintf(why, why_size, "is not base64 at letter %zu of %zu",
                       (size_t)(wrong - at) + 1, n_text);
        mem_free(bytes);
        return;
    }
    sha256(out->digest, bytes, n);
    out->blob = blob_new(bytes, n, release);
    if (out->blob == NULL)
        mem_free(bytes);
}

static void read_artifact(struct upload *out, const struct artifacts *artifacts,
                          const char *hex, char *why, size_t why_size)
{
    const struct artifact *artifact =
        artifacts != NULL ? artifacts_find((struct artifacts *)artifacts, hex)
                          : NULL;

    if (artifact != NULL) {
        out->blob = blob_hold(artifact->blob);
        memcpy(out->digest, artifact->digest, sizeof out->digest);
        return;
    }
    (void)snprintf(why, why_size, "there is no such picture here%s",
                   artifacts != NULL && artifacts_is_gone(artifacts, hex)
                       ? " any more"
                       : "");
}

static bool probe_picture(struct upload *out, char *why, size_t why_size)
{
    struct unstir_error error;
    struct unstir_image shape;

    if (unstir_image_probe(out->blob->bytes, out->blob->n_bytes,
                           UPLOAD_MAX_EDGE, NULL, &shape,
                           &error) != UNSTIR_OK) {
        (void)snprintf(why, why_size, "%.250s", error.detail);
        return false;
    }
    out->width = shape.width;
    out->height = shape.height;
    out->channels = shape.channels;
    return true;
}

static bool probe_latents(struct upload *out, char *why, size_t why_size)
{
    struct unstir_latents shape;
    struct unstir_error error;

    if (unstir_latents_probe(out->blob->bytes, out->blob->n_bytes, &shape,
                             &error) != UNSTIR_OK) {
        (void)snprintf(why, why_size, "%.250s", error.detail);
        return false;
    }
    if (shape.width > UPLOAD_MAX_EDGE || shape.height > UPLOAD_MAX_EDGE ||
        shape.channels > UPLOAD_MAX_CHANNELS) {
        (void)snprintf(why, why_size,
                       "latents: %u channels of %u x %u; at most %u of %u x %u "
                       "are allowed",
                       shape.channels, shape.width, shape.height,
                       UPLOAD_MAX_CHANNELS, UPLOAD_MAX_EDGE, UPLOAD_MAX_EDGE);
        return false;
    }
    out->width = shape.width;
    out->height = shape.height;
    out->channels = shape.channels;
    out->n_latents = shape.n;
    return true;
}

bool upload_is_address(const char *text)
{
    return strncmp(text, ARTIFACT_PREFIX, strlen(ARTIFACT_PREFIX)) == 0;
}

bool upload_read(struct upload *out, const struct artifacts *artifacts,
                 const char *text, char *why, size_t why_size)
{
    bool is_good;

    *out = (struct upload){0};
    why[0] = '\0';
    if (upload_is_address(text))
        read_artifact(out, artifacts, text + strlen(ARTIFACT_PREFIX), why,
                      why_size);
    else
        read_text(out, text, why, why_size);
    if (out->blob == NULL)
        return false;
    is_good = unstir_is_safetensors(out->blob->bytes, out->blob->n_bytes)
                  ? probe_latents(out, why, why_size)
                  : probe_picture(out, why, why_size);
    if (!is_good)
        upload_fini(out);
    return is_good;
}

void upload_fini(struct upload *upload)
{
    blob_drop(upload->blob);
    *upload = (struct upload){0};
}
