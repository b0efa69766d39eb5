#include "peer/config/mirror.h"

#include <stdio.h>
#include <string.h>

#include "protocol/mem.h"

const char *const mirror_words[] = {"upstream", "aliyun", NULL};

const struct mirror mirrors[] = {
    /* Upstream closed its repository of all versions in 2024. */
    {.name = "upstream", .minor = "https://pkgs.k8s.io/core:/stable:/{minor}/deb/"},
    {.name = "aliyun",
     .minor = "https://mirrors.aliyun.com/kubernetes-new/core/stable/{minor}/deb/",
     .legacy = "https://mirrors.aliyun.com/kubernetes/apt",
     .images = "registry.aliyuncs.com/google_containers"},
};

const size_t mirror_count = COUNT_OF(mirrors);

const struct mirror *mirror_find(const char *name)
{
    for (size_t i = 0; i < mirror_count; i++)
        if (strcmp(mirrors[i].name, name) == 0)
            return &mirrors[i];
    return NULL;
}

int mirror_from_url(const char *url, char *minor, char *legacy, size_t n)
{
    int bare = (int)strlen(url), a, b;

    while (bare > 0 && url[bare - 1] == '/')
        bare--;
    if (strstr(url, "{minor}")) {
        a = snprintf(minor, n, "%.*s/", bare, url);
        b = snprintf(legacy, n, "%s", "");
    } else {
        a = snprintf(minor, n, "%.*s/core:/stable:/{minor}/deb/", bare, url);
        b = snprintf(legacy, n, "%.*s/apt", bare, url);
    }
    return a < 0 || b < 0 || (size_t)a >= n || (size_t)b >= n ? -1 : 0;
}
