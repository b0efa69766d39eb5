/*
 * What stands between a host and ready: a judge over one picture of the group. Pure: JSON trees in and out,
 * so that `kpeer why` (cmd_why.c, which gathers the picture) and the tests are its only callers.
 *
 * The picture; what could not be had is null:
 *
 *   {"host": NAME, "status": report_status, "members": report_members, "group": report_survey,
 *    "checks": [{"check", "level", "detail", "next"}], "ending": {"text", "next"},
 *    "silent": BOOL}
 *
 * "silent": the agent runs and does not answer; what it did not say is null.
 *
 * The answer:
 *
 *   {"host": NAME, "ready": BOOL, "symptom": TEXT, "chain": [TEXT], "cause": CAUSE|null, "also": [CAUSE]}
 *   CAUSE: {"kind": WORD, "hosts": [{"name", "address"}], "text": TEXT, "next": TEXT}
 *
 * "host" is whom it is about, "chain" what lies between symptom and cause. Rules (why_rules.c) stand in an
 * order in which a cause comes before its consequences; the first one that fits names the cause.
 */
#ifndef KPEER_WHY_H
#define KPEER_WHY_H

#include <jansson.h>

#include "protocol/err.h"

/* `about`: a member's name or id; NULL: this host, and where it is well, whoever is not. A new reference in
 * *out. KPEER_ENOTFOUND: there is no such member. */
int why_judge(const json_t *picture, const char *about, json_t **out, struct err *err);

#endif
