/*
 * What an image step answers: a JSON text in the result's blob. Used by this folder.
 */
#ifndef KPEER_IMAGES_ANSWER_H
#define KPEER_IMAGES_ANSWER_H

#include <jansson.h>

#include "protocol/err.h"
#include "protocol/step.h"

/* Puts the tree, which it takes over, into the result. NULL: out of memory. */
int answer_give(struct step_result *result, json_t *root, struct err *err);

#endif
