/* cli.c - what all commands share: exit codes, errors, interrupts, JSON.
 *
 * SPDX-License-Identifier: MIT
 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_EXACT 9007199254740991u /* 2^53 - 1 */

/* -- errors ---------------------------------------------------------------- */

static bool has_colour(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(no_color && *no_color) && term &&
           strcmp(term, "dumb") != 0;
}

void cli_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(has_colour() ? "\033[1;31munstir:\033[0m " : "unstir: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

void cli_note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("unstir: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static int exit_code(enum unstir_status status)
{
    switch (status) {
    case UNSTIR_OK:
        return CLI_OK;
    case UNSTIR_ERR_ARG:
        return CLI_USAGE;
    case UNSTIR_ERR_FORMAT:
    case UNSTIR_ERR_UNSUPPORTED:
    case UNSTIR_ERR_MISMATCH:
        return CLI_BAD_FILE;
    case UNSTIR_ERR_NOMEM:
    case UNSTIR_ERR_LIMIT:
        return CLI_LIMIT;
    case UNSTIR_ERR_CANCELLED:
        return CLI_INTERRUPTED;
    case UNSTIR_ERR_IO:
    case UNSTIR_ERR_INTERNAL:
        break;
    }
    return CLI_FAILED;
}

const char *cli_option_of(const char *field)
{
    static const char *const pairs[][2] = {
        {"guidance_scale", "guidance"},
        {"negative_prompt", "negative"},
        {"prompt_syntax", "prompt-syntax"},
        {"clip_skip", "clip-skip"},
        {"deep_cache", "deep-cache"},
        {"image_guidance_scale", "image-guidance"},
        {"preview.decoder", "preview-decoder"},
        {"variation_strength", "variation-strength"},
        {"guidance_rescale", "guidance-rescale"},
        {"guidance_start", "guidance-start"},
        {"guidance_end", "guidance-end"},
        {"denoising_start", "denoising-start"},
        {"denoising_end", "denoising-end"},
        {"init_latents", "init"},
        {"micro_conditioning", "original-size"},
        {"negative_micro_conditioning", "negative-original-size"},
        {"aesthetic_score", "aesthetic-score"},
        {"negative_aesthetic_score", "negative-aesthetic-score"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (strcmp(field, pairs[i][0]) == 0)
            return pairs[i][1];
    return field;
}

int cli_fail(const struct unstir_error *err)
{
    if (err->field[0])
        cli_error("--%s: %s", cli_option_of(err->field), err->detail);
    else
        cli_error("%s", err->detail);
    return exit_code(err->status);
}

int cli_fail_on(const char *thing, const struct unstir_error *err)
{
    cli_error("%s: %s", thing, err->detail);
    return exit_code(err->status);
}

/* -- interrupts ------------------------------------------------------------ */

static volatile sig_atomic_t n_interrupts;

/* SA_RESETHAND: a second signal finds the default action. */
static void on_signal(int signal_number)
{
    (void)signal_number;
    n_interrupts = 1;
}

void cli_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal,
                               .sa_flags = SA_RESETHAND | SA_RESTART};
    sigemptyset(&action.sa_mask);
    /* Both can fail for a bad signal number only. */
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool cli_is_interrupted(void)
{
    return n_interrupts != 0;
}

/* -- small things ---------------------------------------------------------- */

double cli_now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t); /* always there on Linux */
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

uint64_t cli_random_seed(void)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) {
        struct timespec t;
        (void)clock_gettime(CLOCK_REALTIME, &t);
        seed = (uint64_t)t.tv_sec * 1000000007u ^ (uint64_t)t.tv_nsec;
    }
    return seed & MAX_EXACT;
}

/* Bytes of the UTF-8 character at p (RFC 3629, section 4), 0 for none. */
static size_t utf8_bytes(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (p[0] > 0xf4 || (p[0] == 0xe0 && p[1] < 0xa0) ||
        (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* A file's name is bytes, a JSON text is UTF-8: what is none becomes U+FFFD. */
void cli_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t n = utf8_bytes(p);
        if (n == 0)
            fputs("\\ufffd", out);
        else if (*p == '"' || *p == '\\')
            fprintf(out, "\\%c", *p);
        else if (*p < 0x20)
            fprintf(out, "\\u%04x", *p);
        else
            fwrite(p, 1, n, out);
        p += n > 0 ? n : 1;
    }
    fputc('"', out);
}

const char *cli_print_json_char(const char *p)
{
    size_t n = *p == '\\' && p[1] ? 2 : 1;

    if (n == 2 && strchr("\"\\/", p[1]))
        putchar(p[1]);
    else
        fwrite(p, 1, n, stdout);
    return p + n;
}

void cli_json_real(FILE *out, double x)
{
    if (isfinite(x))
        fprintf(out, "%.6g", x);
    else
        fputs("null", out);
}

void cli_json_u64(FILE *out, uint64_t x)
{
    const char *quote = x > MAX_EXACT ? "\"" : "";
    fprintf(out, "%s%llu%s", quote, (unsigned long long)x, quote);
}

static bool is_model(const char *folder)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof(path), "%s/model_index.json", folder);
    return n > 0 && n < (int)sizeof(path) && stat(path, &st) == 0;
}

/* PREFIX/bin/unstir -> PREFIX/share/unstir/models; build/unstir -> models. */
const char *cli_shared_file(const char *name)
{
    static const char *const places[] = {"/../share/unstir/models",
                                         "/../models", "/../../models"};
    static char path[2 * PATH_MAX], whole[PATH_MAX];
    char exe[PATH_MAX];
    struct stat st;
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(exe, '/');
    if (slash)
        *slash = '\0';
    for (size_t i = 0; slash && i < sizeof(places) / sizeof(*places); i++) {
        snprintf(path, sizeof(path), "%s%s/%s", exe, places[i], name);
        if (realpath(path, whole))
            return whole;
    }
    snprintf(path, sizeof(path), "models/%s", name);
    return stat(path, &st) == 0 ? path : NULL;
}

const char *cli_model(const char *given)
{
    static char path[2 * PATH_MAX]; /* the other one serves every file */
    const char *name = given ? given : "fashion";
    struct stat st;
    if (given && (strchr(given, '/') || stat(given, &st) == 0))
        return given;
    const char *folder = *name ? cli_shared_file(name) : NULL;
    if (!folder || !is_model(folder))
        return given;
    snprintf(path, sizeof(path), "%s", folder);
    return path;
}

/* Beside the place that was given, or of those that come with the program. */
static bool find_near(char near[PATH_MAX], const char *given)
{
    const char *shipped = cli_shared_file(".");
    return (shipped && unstir_model_nearest(near, PATH_MAX, shipped, given)) ||
           unstir_model_nearest(near, PATH_MAX, ".", given);
}

int cli_find_model(const char **path, const char *given)
{
    char near[PATH_MAX];
    struct stat st;
    *path = cli_model(given);
    if (!*path || stat(*path, &st) == 0 || errno != ENOENT)
        return CLI_OK;
    if (find_near(near, given))
        cli_error("model %s: is not there; did you mean %s?", given, near);
    else
        cli_error("model %s: no such file or folder%s", given,
                  strchr(given, '/')
                      ? ""
                      : ", nor a model that comes with the program");
    return CLI_FAILED;
}
