/* mapfile.c - files as memory: mapped, read, written whole.
 *
 * SPDX-License-Identifier: MIT
 */
#include "base/mapfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

static enum unstir_status io_error(struct unstir_error *err, const char *path,
                                   const char *what)
{
    return error_set(err, UNSTIR_ERR_IO, "%s: %s: %s", path, what,
                     strerror(errno));
}

static int64_t nanoseconds(struct timespec t)
{
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* A descriptor of a regular file and its size.  O_NONBLOCK: opening a FIFO by
 * mistake must not hang; it does nothing to regular files. */
static enum unstir_status open_regular(int *fd, size_t *n,
                                       struct mapfile_stamp *stamp,
                                       const char *path, size_t max_bytes,
                                       struct unstir_error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return io_error(err, path, "cannot open");
    enum unstir_status status = UNSTIR_OK;
    if (fstat(*fd, &st) != 0)
        status = io_error(err, path, "cannot stat");
    else if (!S_ISREG(st.st_mode))
        status = error_set(err, UNSTIR_ERR_IO, "%s: not a regular file", path);
    else if (max_bytes != 0 && (uintmax_t)st.st_size > max_bytes)
        status = error_set(err, UNSTIR_ERR_LIMIT,
                           "%s: %jd bytes, at most %zu are allowed", path,
                           (intmax_t)st.st_size, max_bytes);
    if (status != UNSTIR_OK) {
        (void)close(*fd); /* read only: nothing to lose */
        *fd = -1;
        return status;
    }
    *n = (size_t)st.st_size;
    *stamp = (struct mapfile_stamp){.device = st.st_dev,
                                    .inode = st.st_ino,
                                    .mtime_ns = nanoseconds(st.st_mtim),
                                    .ctime_ns = nanoseconds(st.st_ctim)};
    return UNSTIR_OK;
}

enum unstir_status mapfile_open(struct mapfile *m, const char *path,
                                size_t max_bytes, struct unstir_error *err)
{
    static const unsigned char nothing[1] = {0};
    struct mapfile_stamp stamp;
    int fd;
    size_t n;
    *m = (struct mapfile){0};
    TRY(open_regular(&fd, &n, &stamp, path, max_bytes, err));
    if (n == 0) { /* mmap refuses an empty range */
        m->bytes = nothing;
        (void)close(fd);
        return UNSTIR_OK;
    }
    void *map = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
    enum unstir_status status =
        map == MAP_FAILED ? io_error(err, path, "cannot map") : UNSTIR_OK;
    (void)close(fd); /* the mapping stays */
    if (status != UNSTIR_OK)
        return status;
    *m = (struct mapfile){
        .bytes = map, .n_bytes = n, .map = map, .stamp = stamp};
    return UNSTIR_OK;
}

void mapfile_close(struct mapfile *m)
{
    if (m->map)
        (void)munmap(m->map, m->n_bytes); /* fails on our own bugs only */
    *m = (struct mapfile){0};
}

void mapfile_forget(const struct mapfile *m)
{
    /* Advice only; a private mapping that was never written loses nothing. */
    if (m->map)
        (void)madvise(m->map, m->n_bytes, MADV_DONTNEED);
}

void mapfile_forget_part(const struct mapfile *m, size_t at, size_t n)
{
    if (m->map)
        (void)madvise((char *)m->map + at, n, MADV_DONTNEED); /* as above */
}

enum unstir_status mapfile_read(char **out, size_t *n, const char *path,
                                size_t max_bytes, struct unstir_error *err)
{
    struct mapfile_stamp unused;
    int fd;
    size_t size;
    void *text = NULL;
    *out = NULL;
    *n = 0;
    TRY(open_regular(&fd, &size, &unused, path, max_bytes, err));
    enum unstir_status status;
    if (size == SIZE_MAX)
        status = error_set(err, UNSTIR_ERR_LIMIT, "%s: too large", path);
    else
        status = alloc_zero(&text, size + 1, 1, err);
    size_t got = 0;
    while (status == UNSTIR_OK && got < size) {
        ssize_t r = read(fd, (char *)text + got, size - got);
        if (r > 0)
            got += (size_t)r;
        else if (r == 0)
            break; /* it shrank: what is there is the file */
        else if (errno != EINTR)
            status = io_error(err, path, "cannot read");
    }
    (void)close(fd);
    if (status != UNSTIR_OK) {
        alloc_free(text);
        return status;
    }
    *out = text;
    *n = got;
    return UNSTIR_OK;
}

static enum unstir_status write_all(int fd, const void *bytes, size_t n,
                                    const char *path, struct unstir_error *err)
{
    size_t done = 0;
    while (done < n) {
        ssize_t w = write(fd, (const char *)bytes + done, n - done);
        if (w >= 0)
            done += (size_t)w;
        else if (errno != EINTR)
            return io_error(err, path, "cannot write");
    }
    return UNSTIR_OK;
}

/* The rename is durable only once the folder is flushed as well.  A file
 * system that cannot flush a folder has nothing better to offer. */
static void flush_folder(char *temp_path)
{
    char *slash = strrchr(temp_path, '/');
    const char *folder = ".";
    if (slash) {
        slash[slash == temp_path ? 1 : 0] = '\0';
        folder = temp_path;
    }
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

/* mkstemp makes files private; give them the mode that open(2) would, without
 * touching the process-wide umask. */
static mode_t mode_like(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? st.st_mode & 0777
                                                       : 0644;
}

struct mapfile_sink {
    int fd;
    const char *path;
};

enum unstir_status mapfile_put(struct mapfile_sink *sink, const void *bytes,
                               size_t n, struct unstir_error *err)
{
    return write_all(sink->fd, bytes, n, sink->path, err);
}

static enum unstir_status write_by(const char *path, mapfile_fill_fn fill,
                                   void *arg, bool is_durable,
                                   struct unstir_error *err)
{
    size_t size = strlen(path) + sizeof ".XXXXXX";
    struct mapfile_sink sink = {.path = path};
    char *temp;
    TRY(alloc_zero(&temp, size, 1, err));
    (void)snprintf(temp, size, "%s.XXXXXX", path);
    enum unstir_status status;
    sink.fd = mkostemp(temp, O_CLOEXEC);
    if (sink.fd < 0) {
        status = io_error(err, path, "cannot create beside it");
        goto out;
    }
    status = fill(arg, &sink, err);
    if (status == UNSTIR_OK && is_durable &&
        (fchmod(sink.fd, mode_like(path)) != 0 || fsync(sink.fd) != 0))
        status = io_error(err, path, "cannot flush");
    if (close(sink.fd) != 0 && status == UNSTIR_OK)
        status = io_error(err, path, "cannot close");
    if (status == UNSTIR_OK && rename(temp, path) != 0)
        status = io_error(err, path, "cannot rename over it");
    if (status != UNSTIR_OK)
        (void)unlink(temp); /* the first error is the one to tell */
    else if (is_durable)
        flush_folder(temp);
out:
    alloc_free(temp);
    return status;
}

enum unstir_status mapfile_write_by(const char *path, mapfile_fill_fn fill,
                                    void *arg, struct unstir_error *err)
{
    return write_by(path, fill, arg, true, err);
}

enum unstir_status mapfile_write_cache(const char *path, mapfile_fill_fn fill,
                                       void *arg, struct unstir_error *err)
{
    return write_by(path, fill, arg, false, err);
}

struct whole {
    const void *bytes;
    size_t n;
};

static enum unstir_status put_whole(void *arg, struct mapfile_sink *sink,
                                    struct unstir_error *err)
{
    const struct whole *whole = arg;
    return mapfile_put(sink, whole->bytes, whole->n, err);
}

enum unstir_status mapfile_write(const char *path, const void *bytes, size_t n,
                                 struct unstir_error *err)
{
    struct whole whole = {bytes, n};
    return mapfile_write_by(path, put_whole, &whole, err);
}
