/*
 * Where packages and images come from: upstream, and the mirrors that are known by name. One table; the key
 * `mirror` names a row of it. Used by the configuration.
 */
#ifndef KPEER_MIRROR_H
#define KPEER_MIRROR_H

#include <stddef.h>

#define MIRROR_URL_MAX 200 /* so that what is put behind a URL still fits where the executor keeps it */

struct mirror {
    const char *name;
    const char *minor; /* repository of one minor version, {minor} standing for "v1.31" */
    const char
        *legacy; /* the repository of all versions up to 1.28; its suite is kubernetes-xenial; NULL: none */
    const char *images;  /* what stands in place of registry.k8s.io and k8s.gcr.io; NULL: those themselves */
    const char *flannel; /* what stands in place of docker.io/flannel; NULL: that itself */
};

/* Rows of the table, in the order of mirror_words. */
extern const struct mirror mirrors[];
extern const size_t mirror_count;

/* Their names, NULL-ended, for the configuration's schema. */
extern const char *const mirror_words[];

/* The row of that name, or NULL. */
const struct mirror *mirror_find(const char *name);

/* The two repositories below a mirror's address: "URL/core:/stable:/{minor}/deb/", or the address itself
 * where it has {minor} in it, and "URL/apt". `minor` and `legacy` hold `n` bytes each. -1: too long. */
int mirror_from_url(const char *url, char *minor, char *legacy, size_t n);

#endif
