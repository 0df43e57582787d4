/* mem.h -- the only road to malloc.
 *
 * Two families, named apart. mem_*: what the core itself needs; when the
 * machine has no memory left these log one line and abort. quota_*: anything
 * whose size or number a peer or an app chose; these may say no (NULL) and
 * every caller has an answer for that. Sizes have been judged by a limit
 * before they come here (I6).
 *
 * Torture: with mem_fail_at(n) the n-th quota_* call from now on fails, and
 * those after it succeed again; 0 switches it off. The environment variable
 * MEM_FAIL_AT sets it at start. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/base.h"

void *mem_alloc(size_t size) NODISCARD;
void *mem_zalloc(size_t size) NODISCARD;
void *mem_realloc(void *p, size_t size) NODISCARD;
/* A NUL-terminated copy of the first `len` bytes. */
char *mem_strndup(const char *s, size_t len) NODISCARD;
void mem_free(void *p);

void *quota_alloc(size_t size) NODISCARD;
void *quota_zalloc(size_t size) NODISCARD;
void *quota_realloc(void *p, size_t size) NODISCARD;
void quota_free(void *p);

/* From here on a block has pages of its own, which go back to the system when
 * it is freed, after mem_keep_heap(). */
#define MEM_OWN_PAGES_BYTES ((size_t)4 * 1024 * 1024)
/* Of a block of any family, `size` bytes, of which the first `keep` are still
 * needed: gives whole pages among its last `most` bytes (a multiple of the
 * page size) back to the system now. Returns by how many bytes the block is
 * shorter then; what lay in them is lost. 0: there is no such page left. */
size_t mem_drop_end(void *p, size_t size, size_t keep, size_t most);

/* For the server's start: the heap keeps what is freed, instead of returning
 * it to the system in the midst of whatever frees the last piece of it (20 us
 * for each megabyte). Who runs a thread gives back what it has too much of, a
 * piece at a time. False: it is another allocator than the C library's (a
 * sanitizer's), which does what it does. */
bool mem_keep_heap(void);
/* Has this thread freed so much since it last gave back that there may be
 * something? In a while: what a busy turn has freed the next one wants. */
bool mem_may_have_spare(void);
/* Gives back one piece. True: there may be more, soon. */
bool mem_give_back(void);
/* The thread ends. */
void mem_stop_giving(void);

void mem_fail_at(uint64_t n);
/* For an allocator with a road of its own to memory (script/arena): counts as
 * one quota_* call; true: this is the one to fail. */
bool mem_is_to_fail(void);
/* quota_* calls made so far by this thread; torture tests count with it. */
uint64_t mem_quota_calls(void);

#endif
