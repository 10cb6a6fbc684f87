/* pictures.c - picture files on the command line: any format in, out by suffix.
 *
 * SPDX-License-Identifier: MIT
 */
#include "pictures.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"
#include "output.h"

#define FRAME_MS      80
#define LAST_FRAME_MS 1500
#define FILM_CELL     224 /* frames narrower than this are enlarged          */

int picture_or_latents_read(struct unstir_image *image,
                            struct unstir_latents *latents, const char *path)
{
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;
    *image = (struct unstir_image){0};
    int rc = input_read(&bytes, &n, path);
    if (rc != CLI_OK)
        return rc;
    enum unstir_status status =
        latents && unstir_is_safetensors(bytes, n)
            ? unstir_latents_decode(bytes, n, latents, &err)
            : unstir_image_decode(bytes, n, 0, image, &err);
    free(bytes);
    return status == UNSTIR_OK ? CLI_OK : cli_fail_on(path, &err);
}

int picture_read(struct unstir_image *image, const char *path)
{
    return picture_or_latents_read(image, NULL, path);
}

/* Is `suffix` in ".jpg,.jpeg"? */
static bool is_in_list(const char *list, const char *suffix)
{
    size_t n = strlen(suffix);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncasecmp(p, suffix, n) == 0 && (p[n] == ',' || p[n] == '\0'))
            return true;
    }
    return false;
}

bool picture_is_film(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot &&
           is_in_list(unstir_format_info(UNSTIR_FORMAT_WEBP)->suffixes, dot);
}

int picture_format(const char *path, enum unstir_format *format)
{
    const char *dot = strrchr(path, '.'), *slash = strrchr(path, '/');
    *format = UNSTIR_FORMAT_PNG;
    if (strcmp(path, "-") == 0)
        return CLI_OK;
    for (int i = 0; dot && (!slash || dot > slash) && i < UNSTIR_N_FORMATS;
         i++) {
        *format = (enum unstir_format)i;
        if (is_in_list(unstir_format_info(*format)->suffixes, dot))
            return CLI_OK;
    }
    cli_error("%s: the name must end in .png, .jpg, .jpeg or .webp", path);
    return CLI_USAGE;
}

static int write_picture(const char *path, const struct unstir_image *image,
                         uint32_t quality)
{
    struct unstir_encode_options o = UNSTIR_ENCODE_INIT;
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n;
    int rc = picture_format(path, &o.format);
    if (rc != CLI_OK)
        return rc;
    o.quality = (int)quality;
    if (unstir_image_encode(image, &o, NULL, 0, &bytes, &n, &err) != UNSTIR_OK)
        return cli_fail_on(path, &err);
    rc = output_write(path, bytes, n);
    unstir_free(bytes);
    return rc;
}

static uint32_t zoom_to(uint32_t cell, uint32_t width)
{
    return cell > width ? cell / width : 1;
}

int picture_write_sheet(const char *path, const struct unstir_image *images,
                        size_t n, uint32_t columns, uint32_t gap, uint32_t cell,
                        uint32_t quality)
{
    struct unstir_error err = {0};
    struct unstir_image sheet;
    if (unstir_image_sheet(images, n, columns, gap,
                           zoom_to(cell, images[0].width), &sheet,
                           &err) != UNSTIR_OK)
        return cli_fail_on(path, &err);
    int rc = write_picture(path, &sheet, quality);
    unstir_image_fini(&sheet);
    return rc;
}

static int write_frames(const char *path, const struct unstir_image *frames,
                        size_t n, uint32_t quality)
{
    const struct unstir_film_options o = {FRAME_MS, LAST_FRAME_MS,
                                          (int)quality};
    struct unstir_error err = {0};
    unsigned char *bytes;
    size_t n_bytes;
    if (unstir_film_encode(frames, n, &o, &bytes, &n_bytes, &err) != UNSTIR_OK)
        return cli_fail_on(path, &err);
    int rc = output_write(path, bytes, n_bytes);
    unstir_free(bytes);
    return rc;
}

int picture_write_film(const char *path, const struct unstir_image *images,
                       size_t n, uint32_t quality)
{
    struct unstir_image *frames = calloc(n, sizeof(*frames));
    struct unstir_error err = {0};
    int rc = CLI_OK;
    if (!frames) {
        cli_error("out of memory");
        return CLI_LIMIT;
    }
    for (size_t i = 0; i < n && rc == CLI_OK; i++)
        if (unstir_image_sheet(&images[i], 1, 1, 0,
                               zoom_to(FILM_CELL, images[i].width), &frames[i],
                               &err) != UNSTIR_OK)
            rc = cli_fail_on(path, &err);
    if (rc == CLI_OK)
        rc = write_frames(path, frames, n, quality);
    for (size_t i = 0; i < n; i++)
        unstir_image_fini(&frames[i]);
    free(frames);
    return rc;
}
