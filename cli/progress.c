/* progress.c - how far a long command is, on stderr.
 *
 * SPDX-License-Identifier: MIT
 */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"

#define REDRAW_S 0.1
#define BAR      20

static enum opts_progress resolve(const struct opts_common *common)
{
    if (common->progress != OPTS_PROGRESS_AUTO)
        return common->progress;
    if (common->is_quiet || !isatty(STDERR_FILENO))
        return OPTS_PROGRESS_NONE;
    return OPTS_PROGRESS_BAR;
}

const struct progress_unit progress_steps = {"step", "steps", 1};
const struct progress_unit progress_megabytes = {"byte", "MB", 1000000};

void progress_begin(struct progress *p, const struct opts_common *common,
                    const struct progress_unit *unit, uint64_t first,
                    uint64_t total)
{
    *p = (struct progress){.mode = resolve(common),
                           .unit = unit,
                           .first = first,
                           .total = total,
                           .start_s = cli_now_s()};
}

/* "0:07", "12:34", "1:02:03" */
static void format_time(char *text, size_t size, double seconds)
{
    unsigned long s = seconds > 0 ? (unsigned long)(seconds + 0.5) : 0;
    if (s >= 3600)
        snprintf(text, size, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, size, "%lu:%02lu", s / 60, s % 60);
}

static int terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

static void draw_bar(struct progress *p, uint64_t done, double spent_s,
                     double left_s, double per_s,
                     const struct progress_value *values, size_t n_values)
{
    char line[320], spent[24], left[24], bar[BAR + 1];
    double share = p->total > 0 ? (double)done / (double)p->total : 0.0;
    int filled = (int)(share * BAR);
    for (int i = 0; i < BAR; i++)
        bar[i] = i < filled ? '#' : '.';
    bar[BAR] = '\0';
    format_time(spent, sizeof(spent), spent_s);
    format_time(left, sizeof(left), left_s);
    int n = snprintf(
        line, sizeof(line), "[%s] %llu/%llu %s  %s spent  %s left  %.3g %s/s",
        bar, (unsigned long long)(done / p->unit->size),
        (unsigned long long)(p->total / p->unit->size), p->unit->shown, spent,
        per_s > 0 ? left : "?", per_s / (double)p->unit->size, p->unit->shown);
    for (size_t i = 0; i < n_values && n < (int)sizeof(line) - 1; i++)
        n += snprintf(line + n, sizeof(line) - (size_t)n, "  %s %.4g",
                      values[i].name, values[i].value);
    int room = terminal_columns() - 1;
    n = (int)strlen(line);
    if (n > room)
        n = room;
    fprintf(stderr, "\r%.*s%*s", n, line, p->n_drawn > n ? p->n_drawn - n : 0,
            "");
    fflush(stderr);
    p->n_drawn = n;
}

static void print_json(const struct progress *p, uint64_t done, double spent_s,
                       double left_s, double per_s,
                       const struct progress_value *values, size_t n_values)
{
    fprintf(stderr,
            "{\"event\":\"progress\",\"%s\":%llu,\"%ss\":%llu,"
            "\"elapsed_s\":%.3f,\"left_s\":",
            p->unit->name, (unsigned long long)done, p->unit->name,
            (unsigned long long)p->total, spent_s);
    if (per_s > 0)
        fprintf(stderr, "%.3f", left_s);
    else
        fputs("null", stderr);
    fputs(",\"per_s\":", stderr);
    cli_json_real(stderr, per_s);
    for (size_t i = 0; i < n_values; i++) {
        fprintf(stderr, ",\"%s\":", values[i].name);
        cli_json_real(stderr, values[i].value);
    }
    fputs("}\n", stderr);
}

void progress_show(struct progress *p, uint64_t done,
                   const struct progress_value *values, size_t n_values)
{
    double now = cli_now_s(), spent = now - p->start_s;
    bool is_last = done >= p->total;
    if (p->mode == OPTS_PROGRESS_NONE ||
        (p->mode == OPTS_PROGRESS_BAR && !is_last &&
         now - p->drawn_s < REDRAW_S))
        return;
    p->drawn_s = now;
    uint64_t fresh = done > p->first ? done - p->first : 0;
    double per_s = spent > 0 ? (double)fresh / spent : 0.0;
    double left = per_s > 0 ? (double)(p->total - done) / per_s : 0.0;
    if (p->mode == OPTS_PROGRESS_JSON)
        print_json(p, done, spent, left, per_s, values, n_values);
    else
        draw_bar(p, done, spent, left, per_s, values, n_values);
}

void progress_clear(struct progress *p)
{
    if (p->mode == OPTS_PROGRESS_BAR && p->n_drawn > 0) {
        fprintf(stderr, "\r%*s\r", p->n_drawn, "");
        fflush(stderr);
    }
    p->n_drawn = 0;
    p->drawn_s = 0;
}
