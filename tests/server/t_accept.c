/* t_accept.c - every row of the table of forms.
 *
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "accept.h"

static void test_forms(void **state)
{
    static const struct {
        const char *header;
        enum accept_form one, several;
    } rows[] = {
        {NULL, FORM_PICTURE, FORM_JSON},
        {"", FORM_PICTURE, FORM_JSON},
        {"*/*", FORM_PICTURE, FORM_JSON},
        {"image/png", FORM_PICTURE, FORM_NONE},
        {"image/*", FORM_PICTURE, FORM_NONE},
        {"image/png, multipart/mixed", FORM_PICTURE, FORM_MULTIPART},
        {"application/json", FORM_JSON, FORM_JSON},
        {"APPLICATION/JSON", FORM_JSON, FORM_JSON},
        {"text/event-stream", FORM_EVENTS, FORM_EVENTS},
        {"multipart/mixed", FORM_MULTIPART, FORM_MULTIPART},
        {"image/webp", FORM_PICTURE, FORM_NONE},
        {"image/avif", FORM_NONE, FORM_NONE},
        {"text/html", FORM_NONE, FORM_NONE},
        {"image/png;q=0", FORM_NONE, FORM_NONE},
        {"image/*;q=0, */*", FORM_JSON, FORM_JSON},
        {"image/png;q=0.5, application/json", FORM_JSON, FORM_JSON},
        {"image/png;q=0.9, application/json;q=0.8", FORM_PICTURE, FORM_JSON},
        {"text/event-stream;q=0.1, application/json;q=0.05", FORM_EVENTS,
         FORM_EVENTS},
        {"text/html,application/xhtml+xml,*/*;q=0.8", FORM_PICTURE, FORM_JSON},
        {"image/avif,image/webp,image/*,*/*;q=0.8", FORM_PICTURE, FORM_JSON},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum unstir_format format;
        int one = accept_form(rows[i].header, 1, NULL, &format);
        int several = accept_form(rows[i].header, 3, NULL, &format);

        if (one != (int)rows[i].one || several != (int)rows[i].several)
            print_error("Accept: %s: wanted %d and %d, got %d and %d\n",
                        rows[i].header ? rows[i].header : "(none)", rows[i].one,
                        rows[i].several, one, several);
        assert_int_equal(one, rows[i].one);
        assert_int_equal(several, rows[i].several);
    }
}

/* The format of one picture: the client's choice, unless the body has one. */
static void test_formats(void **state)
{
    enum {
        PNG = UNSTIR_FORMAT_PNG,
        JPEG = UNSTIR_FORMAT_JPEG,
        WEBP = UNSTIR_FORMAT_WEBP,
        FREE = -1
    };
    static const struct {
        const char *header;
        int said;
        enum accept_form form;
        int format;
    } rows[] = {
        {NULL, FREE, FORM_PICTURE, PNG},
        {"image/*", FREE, FORM_PICTURE, PNG},
        {"image/jpeg", FREE, FORM_PICTURE, JPEG},
        {"image/webp, image/png;q=0.5", FREE, FORM_PICTURE, WEBP},
        {"image/avif, image/webp, image/png", FREE, FORM_PICTURE, PNG},
        {"image/png;q=0, */*", FREE, FORM_PICTURE, JPEG},
        {"application/json", FREE, FORM_JSON, PNG},
        {NULL, WEBP, FORM_PICTURE, WEBP},
        {"image/*", JPEG, FORM_PICTURE, JPEG},
        {"image/png", JPEG, FORM_NONE, JPEG},
        {"image/png, */*;q=0.1", JPEG, FORM_PICTURE, JPEG},
        {"application/json", WEBP, FORM_JSON, WEBP},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum unstir_format format = rows[i].said == FREE
                                        ? UNSTIR_FORMAT_PNG
                                        : (enum unstir_format)rows[i].said;
        const char *fixed = rows[i].said == FREE
                                ? NULL
                                : unstir_format_info(format)->media_type;
        int form = accept_form(rows[i].header, 1, fixed, &format);

        if (form != (int)rows[i].form || (int)format != rows[i].format)
            fail_msg("row %zu: form %d, format %d; wanted %d, %d", i, form,
                     format, rows[i].form, rows[i].format);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms),
                                              cmocka_unit_test(test_formats)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
