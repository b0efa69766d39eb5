/*
 * Which Kubernetes somebody asks for: a patch ("v1.31.4"), the newest of a minor version ("v1.31"), the
 * newest of all ("stable"), or none in particular ("").
 *
 * The configuration keeps it as text in one of these forms; what installs packages, what looks at a host and
 * what founds a cluster read it with this module. Pure.
 */
#ifndef KPEER_WANTED_H
#define KPEER_WANTED_H

#include <stdbool.h>
#include <stddef.h>

#define WANTED_STABLE "stable"

/* A version by its numbers; a pre-release is not told apart. */
struct version {
    unsigned major, minor, patch;
};

/* "1.31.4", "v1.31.4", also with a tail that begins with - or + ("1.31.4-1.1"). False: no version. */
bool version_parse(const char *text, struct version *out);

/* Below, the same or above: negative, 0, positive. */
int version_compare(const struct version *a, const struct version *b);

/* Brings what a person writes ("1.31", "v1.31.4", "stable") into the one form that is kept. False: it has
 * none of the forms, or does not fit. */
bool wanted_normalise(const char *text, char *out, size_t out_bytes);

/* Whether it names one patch, so that it can be used as a version as it is. */
bool wanted_is_exact(const char *wanted);

/* The minor version that it names, as major and minor of *out; false where it names none. */
bool wanted_minor(const char *wanted, struct version *out);

/* Whether `version` is what is wanted. Anything that is a version fits "stable" and "": a host that has some
 * Kubernetes is not made to take a newer one because there is one. */
bool wanted_fits(const char *wanted, const char *version);

#endif
