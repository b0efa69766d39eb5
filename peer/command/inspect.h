/*
 * What a command finds out for itself: the checks of this host, by an executor of its own, and how the hosts
 * of the group see each other, by the agent. `kpeer preflight` and `kpeer why` use it.
 */
#ifndef KPEER_INSPECT_H
#define KPEER_INSPECT_H

#include <jansson.h>

#include "peer/command/command.h"
#include "peer/command/progress.h"
#include "protocol/step.h"

struct inspect {
    struct call *call;
    struct progress progress;
    void (*line)(struct inspect *in, const struct step_progress *p); /* each line of a step; may be NULL */
    enum step_kind kind;                                             /* of the step that runs */
    long long begun_ms;
};

void inspect_init(struct inspect *in, struct call *call);

/* Runs a step on this host, as local_step. */
int inspect_run(struct inspect *in, enum step_kind kind, enum step_role role, struct step_result *res,
                struct err *err);

/* The part that this host is checked for: as the agent would choose it. */
int inspect_role(struct inspect *in, enum step_role *role, struct err *err);

/* Every check on this host. A host that is red as a master may still do as a worker, where nobody asked for a
 * master: *role tells then. 0: `res` holds the checks, and its code is 0 or KPEER_EPREFLIGHT; after an error
 * too step_result_fini is due. */
int inspect_host(struct inspect *in, enum step_role *role, struct step_result *res, struct err *err);

/* How the hosts of the group see each other (report_survey.h); *out stays NULL where no agent runs. */
int inspect_group(struct inspect *in, json_t **out, struct err *err);

#endif
