/* Which images a manifest of Flannel's runs. */
#include <stdlib.h>
#include <string.h>

#include "peer/executor/kube/flannel.h"
#include "peer/executor/kube/yamltree.h"
#include "protocol/mem.h"

struct names {
    char (*names)[FLANNEL_IMAGE_BYTES];
    size_t max;
    size_t count;
};

static void add(struct names *out, const char *image)
{
    if (!image || !image[0])
        return;
    for (size_t i = 0; i < out->count; i++)
        if (strcmp(out->names[i], image) == 0)
            return;
    if (out->count < out->max && mem_copy_text(out->names[out->count], FLANNEL_IMAGE_BYTES, image) == 0)
        out->count++;
}

static void of_object(yaml_document_t *d, int object, struct names *out)
{
    static const char *const lists[] = {"initContainers", "containers"};
    const char *kind = yamltree_text(d, yamltree_get(d, object, "kind"));
    if (!kind || strcmp(kind, "DaemonSet") != 0)
        return;
    int spec = yamltree_get(d, yamltree_get(d, yamltree_get(d, object, "spec"), "template"), "spec");
    for (size_t k = 0; k < COUNT_OF(lists); k++) {
        int list = yamltree_get(d, spec, lists[k]);
        for (size_t i = 0; i < yamltree_length(d, list); i++)
            add(out, yamltree_text(d, yamltree_get(d, yamltree_item(d, list, i), "image")));
    }
}

/* A document's root is its node 1. */
static void of_document(yaml_document_t *d, struct names *out)
{
    const char *kind = yamltree_text(d, yamltree_get(d, 1, "kind"));
    int items = kind && strcmp(kind, "List") == 0 ? yamltree_get(d, 1, "items") : 0;
    of_object(d, 1, out);
    for (size_t i = 0; i < yamltree_length(d, items); i++)
        of_object(d, yamltree_item(d, items, i), out);
}

int flannel_images(const char *manifest, size_t manifest_bytes, char (*names)[FLANNEL_IMAGE_BYTES],
                   size_t max, size_t *count, struct err *err)
{
    cleanup_free struct yamltree *tree = calloc(1, sizeof *tree);
    struct names out = {.names = names, .max = max};
    if (!tree)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    int rc = yamltree_load(manifest, manifest_bytes, tree, err);
    for (size_t i = 0; rc == 0 && i < tree->count; i++)
        of_document(&tree->documents[i], &out);
    yamltree_fini(tree);
    if (rc != 0)
        return err_wrap(err, "Flannel's manifest");
    *count = out.count;
    return 0;
}
