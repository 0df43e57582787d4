/* vm_priv.h -- shared by vm.c, which makes and drops a vm, and task.c, which
 * runs it. */
#ifndef SCRIPT_VM_PRIV_H
#define SCRIPT_VM_PRIV_H

#include "script/vm.h"

#define VM_MAGIC 0x766du

/* In its own arena. */
struct vm {
    uint64_t magic;
    struct arena *arena; /* owned, and holds us */
    lua_State *L;
    struct vm_config config;
    struct task *current; /* on its fiber now; NULL: the loop runs */
    struct task *stopped; /* in the middle of something; NULL: none */
    enum vm_end end;
    char why[VM_WHY_BYTES];
    struct list tasks;   /* all: task.in_vm */
    struct list dropped; /* those whose waits task_drop_some() has cancelled */
    struct list ready;   /* woken, longest first: task.node */
    struct list idle;    /* on a fiber, without a job: task.node */
    struct list bare;    /* a Lua thread only, no fiber: task.node */
    struct task *spare;  /* memory for one more, see task.c; NULL: used up */
    uint32_t idle_count;
    uint32_t bare_count;
    uint32_t busy_count; /* tasks with a job */
    uint32_t full_count; /* jobs that failed in a row, see kill_if_full() */
};

/* Cancels so many waits, and when all are, frees so many fibers. False: nothing
 * is left. */
bool task_drop_some(struct vm *vm, uint32_t most);

#endif
