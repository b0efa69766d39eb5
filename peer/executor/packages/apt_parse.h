/*
 * What apt and dpkg print, read strictly and bounded. Pure: text in, values out. Used by this folder and its
 * tests.
 */
#ifndef KPEER_APT_PARSE_H
#define KPEER_APT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/err.h"
#include "protocol/wanted.h"

#define APT_NAME_BYTES    96
#define APT_VERSION_BYTES 96
#define APT_CHANGES_MAX   256

/* A package as dpkg has it. */
struct apt_package {
    char name[APT_NAME_BYTES];
    char version[APT_VERSION_BYTES];
    bool installed; /* in full */
    bool broken;    /* half installed, unpacked or half configured */
    bool held;
    bool there;   /* in any form: its settings alone may be left, without a version */
    bool cut;     /* broken so that dpkg wants it installed again before anything else */
    bool leaving; /* broken, since its removal was cut short */
    bool purging; /* with its settings */
};

/* One change that apt would make. */
struct apt_change {
    char name[APT_NAME_BYTES];
    char before[APT_VERSION_BYTES]; /* empty: it is new */
    char after[APT_VERSION_BYTES];  /* empty: it would be removed */
};

struct apt_plan {
    struct apt_change changes[APT_CHANGES_MAX];
    size_t count;
};

/* Whether text has the form of a package's name (letters, digits and +-.) or version (those and :~). */
bool apt_is_name(const char *text);
bool apt_is_version(const char *text);

/* The version of what is packaged, without epoch and revision. False: it has not the form of Kubernetes' own.
 */
bool apt_upstream_version(const char *version, struct version *out);

/* One line "NAME\tVERSION\tSTATUS" as dpkg-query is asked for ("install ok installed"). False: not of this
 * form. */
bool apt_parse_package(const char *line, size_t n, struct apt_package *out);

/* From "apt-cache madison NAME": the version that is wanted (protocol/wanted.h), the newest of several, with
 * its revision ("1.23.3-00", "1.31.4-1.1"). KPEER_ENOTFOUND: none fits. */
int apt_parse_madison(const char *text, const char *name, const char *wanted, char *out, size_t out_bytes,
                      struct err *err);

/* From "apt-cache madison NAME": the newest version whose minor is not above `minor`'s, else the oldest.
 * False: there is none. `minor` NULL: the newest of all. */
bool apt_parse_companion(const char *text, const char *name, const char *minor, char *out, size_t out_bytes);

/* Whether "apt-cache madison NAME" lists exactly this version. */
bool apt_parse_offers(const char *text, const char *name, const char *version);

/* What "apt-get --simulate" would do: lines Inst and Remv. KPEER_ELIMIT: too many; KPEER_EINVAL: a line that
 * is neither read nor harmless. */
int apt_parse_plan(const char *text, struct apt_plan *out, struct err *err);

/* "After this operation, 223 MB of additional disk space will be used." in bytes; 0 where it is not told. */
uint64_t apt_parse_space(const char *text);

/* A line of APT::Status-Fd: "dlstatus:1:20.5:Retrieving file 1", "pmstatus:kubeadm:35.0:Unpacking kubeadm".
 * False: none. `what` gets its words. */
bool apt_parse_status(const char *line, int32_t *percent, bool *is_download, char *what, size_t what_bytes);

/* Turns what apt printed on a failure into an error: code, the line that tells the cause, and the next step.
 */
int apt_parse_failure(const char *errout, const char *what, struct err *err);

#endif
