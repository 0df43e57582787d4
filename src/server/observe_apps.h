/* observe_apps.h -- what /metrics shows of each app. */
#ifndef SERVER_OBSERVE_APPS_H
#define SERVER_OBSERVE_APPS_H

struct buf;

/* An admin_source's write; `user` is the struct sites. 0 or what
 * metric_text_*() say. */
int observe_apps(void *user, struct buf *out);

#endif
