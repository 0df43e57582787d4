/* harden_user.c -- root becomes somebody who can do less.
 *
 * Called by harden.c while there is one thread. Without a name, the user is
 * chosen so that a server that is simply started as root works, and still is
 * not root where that can be helped:
 *
 *   1. who owns the app's directory, if that is not root and can read it (a
 *      directory above may be closed to its owner);
 *   2. "nobody", if it can read the directory;
 *   3. else root stays root in name, but without any capability: it reads
 *      what root owns, and has none of root's other rights.
 *
 * The supplementary groups are the user's own, or none. Capabilities go from
 * all sets, the bounding set included, so that nothing brings them back. */
#include "base/err.h"
#include "server/harden_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define IS_SANITIZED 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define IS_SANITIZED 1
#endif

#define NOBODY       "nobody"
#define GROUPS_MAX   64
#define LOOKUP_BYTES 4096

struct identity {
    uid_t uid;
    gid_t gid;
    char name[HARDEN_NAME_BYTES];
    gid_t groups[GROUPS_MAX];
    int group_count;
};

/* ---- who ---- */

static void set_groups(struct identity *id, const char *name)
{
    id->group_count = GROUPS_MAX;
    if (getgrouplist(name, id->gid, id->groups, &id->group_count) < 0) {
        /* More than that, or nobody knows: its own has to do. */
        id->groups[0] = id->gid;
        id->group_count = 1;
    }
}

static int from_passwd(struct identity *id, const struct passwd *pw)
{
    id->uid = pw->pw_uid;
    id->gid = pw->pw_gid;
    (void)snprintf(id->name, sizeof(id->name), "%s", pw->pw_name);
    set_groups(id, pw->pw_name);
    return 0;
}

static int find_by_name(struct identity *id, const char *name)
{
    char text[LOOKUP_BYTES];
    struct passwd pw;
    struct passwd *found = NULL;
    int rc = getpwnam_r(name, &pw, text, sizeof(text), &found);
    if (rc != 0) {
        return -rc;
    }
    return found != NULL ? from_passwd(id, found) : ERR_NOT_FOUND;
}

/* A number need not have a name (containers). `gid`: its group then. */
static int find_by_number(struct identity *id, uid_t uid, gid_t gid)
{
    char text[LOOKUP_BYTES];
    struct passwd pw;
    struct passwd *found = NULL;
    if (getpwuid_r(uid, &pw, text, sizeof(text), &found) == 0 &&
        found != NULL) {
        return from_passwd(id, found);
    }
    *id = (struct identity){.uid = uid, .gid = gid, .group_count = 1};
    id->groups[0] = gid;
    (void)snprintf(id->name, sizeof(id->name), "user %u", (unsigned)uid);
    return 0;
}

static int find_user(struct identity *id, const char *user)
{
    size_t digits = strspn(user, "0123456789");
    if (digits > 0 && digits <= 9 && user[digits] == '\0') {
        uid_t uid = (uid_t)strtoul(user, NULL, 10);
        return find_by_number(id, uid, (gid_t)uid);
    }
    return find_by_name(id, user);
}

/* Can it open the directory and its main.lua? Tried as that user, for a
 * moment: modes and access lists of every directory above are the kernel's
 * to judge. */
static bool can_read(const struct identity *id, const char *dir)
{
    gid_t old_groups[GROUPS_MAX];
    int old_count = getgroups(GROUPS_MAX, old_groups);
    bool can = false;
    if (old_count < 0 || setgroups((size_t)id->group_count, id->groups) != 0) {
        return false;
    }
    if (setresgid((gid_t)-1, id->gid, (gid_t)-1) == 0 &&
        setresuid((uid_t)-1, id->uid, (uid_t)-1) == 0) {
        int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int file = at < 0 ? -1 : openat(at, "main.lua", O_RDONLY | O_CLOEXEC);
        can = file >= 0 || (at >= 0 && errno == ENOENT);
        if (file >= 0) {
            close(file);
        }
        if (at >= 0) {
            close(at);
        }
    }
    if (setresuid((uid_t)-1, 0, (uid_t)-1) != 0 ||
        setresgid((gid_t)-1, getgid(), (gid_t)-1) != 0 ||
        setgroups((size_t)old_count, old_groups) != 0) {
        abort(); /* neither this user nor that one */
    }
    return can;
}

static int choose(struct identity *id, const char *user, const char *dir)
{
    if (user != NULL) {
        return find_user(id, user);
    }
    struct stat st;
    if (stat(dir, &st) == 0 && st.st_uid != 0 &&
        find_by_number(id, st.st_uid, st.st_gid) == 0 && can_read(id, dir)) {
        return 0;
    }
    if (find_by_name(id, NOBODY) == 0 && can_read(id, dir)) {
        return 0;
    }
    return find_by_number(id, 0, 0);
}

/* ---- becoming it ---- */

#ifdef __linux__
#    include <linux/capability.h>

/* Keeps no capability, or only the one. */
static int keep_capability(bool keep_bind)
{
    struct __user_cap_header_struct head = {
        .version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}};
    if (keep_bind) {
        uint32_t bit = 1u << CAP_NET_BIND_SERVICE;
        struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3];
        if (syscall(SYS_capget, &head, now) == 0) {
            data[0].permitted = now[0].permitted & bit;
            data[0].effective = data[0].permitted;
        }
    }
    return syscall(SYS_capset, &head, data) == 0 ? 0 : -errno;
}

static void empty_bounding_set(void)
{
    /* Ends at the first number that this kernel does not know. */
    for (unsigned long cap = 0; cap < 64; cap++) {
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0) {
            break;
        }
    }
}

static void keep_capabilities_over_setuid(bool keep)
{
    (void)prctl(PR_SET_KEEPCAPS, keep ? 1 : 0, 0, 0, 0);
}
#else
static int keep_capability(bool keep_bind)
{
    (void)keep_bind;
    return 0;
}

static void empty_bounding_set(void)
{
}

static void keep_capabilities_over_setuid(bool keep)
{
    (void)keep;
}
#endif

static int become(const struct identity *id, bool keep_bind)
{
    empty_bounding_set();
    keep_capabilities_over_setuid(keep_bind);
    bool has_groups = setgroups((size_t)id->group_count, id->groups) == 0;
    if ((!has_groups && id->uid != 0) ||
        setresgid(id->gid, id->gid, id->gid) != 0 ||
        setresuid(id->uid, id->uid, id->uid) != 0) {
        return -errno;
    }
    keep_capabilities_over_setuid(false);
    int rc = keep_capability(keep_bind);
    if (rc == 0 && id->uid != 0 && setresuid(0, 0, 0) == 0) {
        return -EPERM; /* there is a way back */
    }
#ifdef IS_SANITIZED
    /* A change of user makes a process undumpable, and a sanitizer that looks
     * for leaks blind. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
#endif
    return rc;
}

int harden_user_become(const char *user, const char *dir, bool keep_bind,
    char name[HARDEN_NAME_BYTES])
{
    struct identity id = {0};
    bool is_root = geteuid() == 0;
    if (!is_root && user == NULL) {
        name[0] = '\0';
        return 0;
    }
    int rc = choose(&id, user, dir);
    if (rc != 0) {
        return rc;
    }
    memcpy(name, id.name, sizeof(id.name));
    if (!is_root) {
        return id.uid == geteuid() ? 0 : ERR_DENIED;
    }
    return become(&id, keep_bind);
}

void harden_user_drop_rights(void)
{
    (void)keep_capability(false);
}
