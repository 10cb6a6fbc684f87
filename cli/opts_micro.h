/* opts_micro.h - the options of what SDXL is told of a picture's making.
 *
 * Rows of a command's table.  The command defines FIELD(name) as for its own
 * rows; generate_micro.c reads the texts.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef OPTS_MICRO_H
#define OPTS_MICRO_H

#define OPTS_MICRO_PAIR(option, field, pair, none, text)                  \
    {                                                                     \
        .name = option, .kind = OPT_TEXT, .meta = pair, .fallback = none, \
        FIELD(field), .help = text                                        \
    }

#define OPTS_MICRO_SCORE(option, field, none, text)                 \
    {                                                               \
        .name = option, .kind = OPT_REAL, .meta = "F", .min = -100, \
        .max = 100, .fallback = none, FIELD(field), .help = text    \
    }

#define OPTS_MICRO                                                             \
    {.group = "What SDXL is told",                                             \
     .name = "original-size",                                                  \
     .kind = OPT_TEXT,                                                         \
     .meta = "WxH",                                                            \
     .fallback = "the picture's",                                              \
     FIELD(original_size),                                                     \
     .help = "of the picture before it was scaled"},                           \
        OPTS_MICRO_PAIR("crop-at", crop_at, "X,Y", "0,0",                      \
                        "what was cut off at its left and top"),               \
        OPTS_MICRO_PAIR("target-size", target_size, "WxH", "the picture's",    \
                        "that it was scaled for"),                             \
        OPTS_MICRO_PAIR("negative-original-size", negative_original_size,      \
                        "WxH", "as above", "of what to keep away from"),       \
        OPTS_MICRO_PAIR("negative-crop-at", negative_crop_at, "X,Y",           \
                        "as above; 0,0 with both negative sizes and with "     \
                        "scores",                                              \
                        "the same"),                                           \
        OPTS_MICRO_PAIR("negative-target-size", negative_target_size, "WxH",   \
                        "as above", "the same"),                               \
        OPTS_MICRO_SCORE("aesthetic-score", aesthetic_score, "6",              \
                         "of beauty, of SDXL's refiner"),                      \
        OPTS_MICRO_SCORE("negative-aesthetic-score", negative_aesthetic_score, \
                         "2.5", "the same of what to keep away from")

#endif
