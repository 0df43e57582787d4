/* fiber_switch.c -- the switch between two C stacks on x86-64 and aarch64.
 *
 * For fiber.c alone. To the compiler a switch is a call like any other, so
 * only what a callee must preserve is saved, on the stack being left; its
 * stack pointer is all that is remembered. Eight moves and a jump, about 5
 * ns; the jump is not a `ret`, because the processor predicts returns from
 * the calls it saw, and here they do not match.
 *
 * Not saved: MXCSR, the x87 control word, FPCR. They are preserved by the
 * calling convention too, but nobody in this process ever changes them (no
 * fesetround(), no flush-to-zero), so all fibers have the same; loading them
 * would cost more than all the rest. Later, when a fiber is stopped by a
 * signal, the kernel's signal frame holds every register anyway.
 *
 * Not supported: CET shadow stacks, which would need a shadow stack for each
 * fiber. The assembly carries no CET note, so the linker marks the program as
 * one that does not take part.
 *
 * The base frame: unwinders stop here cleanly. The frame pointer is zero
 * (what the sanitizers' fast unwinder looks at), the word where a return
 * address would be is zero, and the CFI calls the return address undefined
 * (what gdb and libgcc look at).
 *
 * Written at top level rather than as .S or naked functions: it needs no
 * second language in the build, and aarch64 compilers have no naked. */
#include "script/fiber_priv.h"

#if !FIBER_UCONTEXT

/* Both in assembly below. */
void fiber_switch_stacks(void **from_sp, void *to_sp);
void fiber_switch_base(void);

#    if defined(__x86_64__)

/* Saved, from the stack pointer up: r15 r14 r13 r12 rbx rbp, return address.
 * The base finds its function in r12 and the argument in r13. */
__asm__(".pushsection .text\n"
        ".globl fiber_switch_stacks\n"
        ".hidden fiber_switch_stacks\n"
        ".type fiber_switch_stacks, @function\n"
        ".p2align 4\n"
        "fiber_switch_stacks:\n"
        ".cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset rbp, 0\n"
        "    pushq %rbx\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset rbx, 0\n"
        "    pushq %r12\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset r12, 0\n"
        "    pushq %r13\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset r13, 0\n"
        "    pushq %r14\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset r14, 0\n"
        "    pushq %r15\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_rel_offset r15, 0\n"
        "    movq %rsp, (%rdi)\n"
        /* The same layout on the other side, so the CFI still holds. */
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore r15\n"
        "    popq %r14\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore r14\n"
        "    popq %r13\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore r13\n"
        "    popq %r12\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore r12\n"
        "    popq %rbx\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore rbx\n"
        "    popq %rbp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_restore rbp\n"
        "    popq %rdx\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_register rip, rdx\n"
        "    jmpq *%rdx\n"
        ".cfi_endproc\n"
        ".size fiber_switch_stacks, . - fiber_switch_stacks\n"
        ".globl fiber_switch_base\n"
        ".hidden fiber_switch_base\n"
        ".type fiber_switch_base, @function\n"
        ".p2align 4\n"
        "fiber_switch_base:\n"
        ".cfi_startproc\n"
        "    .cfi_undefined rip\n"
        "    movq %r13, %rdi\n"
        "    callq *%r12\n"
        "    ud2\n"
        ".cfi_endproc\n"
        ".size fiber_switch_base, . - fiber_switch_base\n"
        ".popsection\n");

enum { SAVED_WORDS = 7, SAVED_FN = 3, SAVED_ARG = 2, SAVED_PC = 6 };

#    else

/* Saved, from the stack pointer up: x19..x28, x29 x30, d8..d15. The base
 * finds its function in x19 and the argument in x20. Here the way out is a
 * `ret`: where branch targets are guarded, any other jump would need a
 * landing pad behind every call of the switch. */
__asm__(".pushsection .text\n"
        ".globl fiber_switch_stacks\n"
        ".hidden fiber_switch_stacks\n"
        ".type fiber_switch_stacks, %function\n"
        ".p2align 4\n"
        "fiber_switch_stacks:\n"
        ".cfi_startproc\n"
        "    hint #34\n" /* bti c */
        "    sub sp, sp, #160\n"
        "    .cfi_def_cfa_offset 160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    .cfi_rel_offset x29, 80\n"
        "    .cfi_rel_offset x30, 88\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    .cfi_def_cfa_offset 0\n"
        "    .cfi_restore x29\n"
        "    .cfi_restore x30\n"
        "    ret\n"
        ".cfi_endproc\n"
        ".size fiber_switch_stacks, . - fiber_switch_stacks\n"
        ".globl fiber_switch_base\n"
        ".hidden fiber_switch_base\n"
        ".type fiber_switch_base, %function\n"
        ".p2align 4\n"
        "fiber_switch_base:\n"
        ".cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    mov x0, x20\n"
        "    blr x19\n"
        "    brk #1\n"
        ".cfi_endproc\n"
        ".size fiber_switch_base, . - fiber_switch_base\n"
        ".popsection\n");

enum { SAVED_WORDS = 20, SAVED_FN = 0, SAVED_ARG = 1, SAVED_PC = 11 };

#    endif

void fiber_context_make(struct fiber_context *c, void *low, size_t bytes,
    void (*start)(void *arg), void *arg)
{
    /* Two zero words above everything: where an unwinder that follows frames
     * would look for the caller of the base. The base starts with a stack
     * pointer that is a multiple of 16. */
    uintptr_t top = ((uintptr_t)low + bytes) & ~(uintptr_t)15;
    uintptr_t *end = (uintptr_t *)(void *)(top - 16);
    end[0] = 0;
    end[1] = 0;
    uintptr_t *saved = end - SAVED_WORDS;
    for (int i = 0; i < SAVED_WORDS; i++) {
        saved[i] = 0;
    }
    saved[SAVED_FN] = (uintptr_t)start;
    saved[SAVED_ARG] = (uintptr_t)arg;
    saved[SAVED_PC] = (uintptr_t)fiber_switch_base;
    c->sp = saved;
}

void fiber_context_switch(
    struct fiber_context *from, const struct fiber_context *to)
{
    fiber_switch_stacks(&from->sp, to->sp);
}

#else

/* ISO C wants something in every file. */
enum { FIBER_SWITCH_IS_NOT_USED };

#endif
