/* output.c - result files: never half written, never overwritten by accident;
 * and input files as memory.
 *
 * SPDX-License-Identifier: MIT
 */
#include "output.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

#define MAX_INPUT_BYTES ((size_t)1 << 30)

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Told before the work, not after it. */
static int check_folder(const char *path)
{
    char folder[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) + 1 : 0; /* "/" of "/x.png" */
    if (n >= sizeof(folder))
        return CLI_OK; /* told when it is opened */
    if (n > 0)
        snprintf(folder, sizeof(folder), "%.*s", (int)n, path);
    if (access(folder, W_OK | X_OK) == 0)
        return CLI_OK;
    cli_error("%s: folder %s: %s", path, folder, strerror(errno));
    return CLI_FAILED;
}

int output_check(const char *path, bool is_forced)
{
    struct stat st;
    if (strcmp(path, "-") == 0)
        return CLI_OK;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        cli_error("%s: is a folder", path);
        return CLI_USAGE;
    }
    if (exists(path) && !is_forced) {
        cli_error("%s: exists; --force replaces it", path);
        return CLI_USAGE;
    }
    return exists(path) ? CLI_OK : check_folder(path);
}

void output_number(char *out, size_t size, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(path, '.');
    if (!dot || (slash && dot < slash) || dot == path)
        dot = path + strlen(path);
    snprintf(out, size, "%s", path);
    for (unsigned i = 2; exists(out) && i < UINT_MAX; i++)
        snprintf(out, size, "%.*s-%u%s", (int)(dot - path), path, i, dot);
}

static int io_error(const char *path)
{
    cli_error("%s: %s", path, strerror(errno));
    return CLI_FAILED;
}

static int write_stdout(const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, stdout) != n || fflush(stdout) != 0)
        return io_error("stdout");
    return CLI_OK;
}

int output_write(const char *path, const void *bytes, size_t n)
{
    char temp[PATH_MAX];
    struct stat st;
    if (strcmp(path, "-") == 0)
        return write_stdout(bytes, n);
    /* A device or a pipe cannot be replaced: it is written into. */
    bool is_special = stat(path, &st) == 0 && !S_ISREG(st.st_mode);
    int length = snprintf(temp, sizeof(temp), is_special ? "%s" : "%s.part%ld",
                          path, (long)getpid());
    if (length < 0 || length >= (int)sizeof(temp)) {
        errno = ENAMETOOLONG;
        return io_error(path);
    }
    FILE *f = fopen(temp, "wb");
    if (!f)
        return io_error(path);
    bool is_whole = fwrite(bytes, 1, n, f) == n;
    is_whole = fclose(f) == 0 && is_whole;
    if (is_whole && (is_special || rename(temp, path) == 0))
        return CLI_OK;
    int rc = io_error(path);
    if (!is_special)
        (void)unlink(temp); /* nothing more can be done about it */
    return rc;
}

static int read_stream(unsigned char **bytes, size_t *n, const char *path,
                       FILE *f)
{
    size_t capacity = 0;
    for (;;) {
        if (*n == capacity) {
            capacity = capacity ? 2 * capacity : 1 << 16;
            unsigned char *grown =
                capacity <= MAX_INPUT_BYTES ? realloc(*bytes, capacity) : NULL;
            if (!grown) {
                cli_error("%s: more than %zu bytes", path, *n);
                return CLI_LIMIT;
            }
            *bytes = grown;
        }
        size_t got = fread(*bytes + *n, 1, capacity - *n, f);
        *n += got;
        if (got == 0)
            return ferror(f) ? io_error(path) : CLI_OK;
    }
}

int input_read(unsigned char **bytes, size_t *n, const char *path)
{
    *bytes = NULL;
    *n = 0;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!f)
        return io_error(path);
    int rc = read_stream(bytes, n, path, f);
    if (f != stdin)
        (void)fclose(f); /* only read */
    if (rc != CLI_OK) {
        free(*bytes);
        *bytes = NULL;
    }
    return rc;
}
