/* text_folder.h - a golden of tests/data/text_pipelines as a model on disk.
 *
 * The weights are drawn by the rule of network_draw() from the golden's seed,
 * as tools/goldens/make_text_pipelines.py draws them.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef SUPPORT_TEXT_FOLDER_H
#define SUPPORT_TEXT_FOLDER_H

struct weights;

/* Write the diffusers folder into the empty folder `path`. */
void text_folder_write(const char *path, const struct weights *golden);

#endif
