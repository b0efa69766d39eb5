#include "peer/executor/images/answer.h"

#include <stdlib.h>
#include <string.h>

int answer_give(struct step_result *result, json_t *root, struct err *err)
{
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (!text)
        return err_set(err, KPEER_ENOMEM, "out of memory");
    size_t n = strlen(text);
    if (n > STEP_BLOB_MAX) {
        free(text);
        return err_set(err, KPEER_ELIMIT, "the answer is larger than a step's may be");
    }
    result->blob = (uint8_t *)text;
    result->blob_bytes = n;
    return 0;
}
