/*
 * How the hosts of a group see each other, as a JSON tree and as a table.
 *
 * The agent makes the tree for the request "survey"; `kpeer preflight` shows it.
 *
 *   {"took_ms": N, "green": BOOL,
 *    "hosts": [{"name", "address", "answer": "full"|"busy"|"none", "kubernetes", "clock_offset_ms", "mtu"}],
 *    "faults": [{"check", "level": "red"|"warn", "hosts": [{"name", "address"}], "text", "next"}]}
 *
 * "green" is true when no fault is red. A fault of all hosts together has no hosts of its own.
 */
#ifndef KPEER_REPORT_SURVEY_H
#define KPEER_REPORT_SURVEY_H

#include <jansson.h>

#include "peer/writer.h"
#include "protocol/survey.h"

#define REPORT_SURVEY_MS 45000 /* to wait for the answer: two surveys of one asker are 10 s apart */

/* A new reference; NULL when out of memory. */
json_t *report_survey(const struct survey_report *r);

/* Shows the agent's answer: one line about the group, and a table with a row for each fault. */
int report_survey_show(const struct writer *w, const json_t *survey, struct err *err);

#endif
