/* fiber_switch.c -- the first frame of a fiber on x86-64 and aarch64; the
 * switch itself is in fiber_priv.h.
 *
 * For fiber.c alone. The base frame is where unwinders stop cleanly: the
 * frame pointer is zero (what the sanitizers' fast unwinder looks at), the
 * word where a return address would be is zero, and the CFI calls the return
 * address undefined (what gdb and libgcc look at).
 *
 * Written at top level rather than as .S or a naked function: it needs no
 * second language in the build, and aarch64 compilers have no naked. */
#include "script/fiber_priv.h"

#if !FIBER_UCONTEXT

/* In assembly below: calls the function that lies on its stack. */
void fiber_switch_base(void);

#    if defined(__x86_64__)

/* From the stack pointer up: argument, function, two zeros. */
__asm__(".pushsection .text\n"
        ".globl fiber_switch_base\n"
        ".hidden fiber_switch_base\n"
        ".type fiber_switch_base, @function\n"
        ".p2align 4\n"
        "fiber_switch_base:\n"
        ".cfi_startproc\n"
        "    .cfi_undefined rip\n"
        "    popq %rdi\n"
        "    popq %rax\n"
        "    xorl %ebp, %ebp\n"
        "    callq *%rax\n"
        "    ud2\n"
        ".cfi_endproc\n"
        ".size fiber_switch_base, . - fiber_switch_base\n"
        ".popsection\n");

#    else

/* The stack as above. */
__asm__(".pushsection .text\n"
        ".globl fiber_switch_base\n"
        ".hidden fiber_switch_base\n"
        ".type fiber_switch_base, %function\n"
        ".p2align 4\n"
        "fiber_switch_base:\n"
        ".cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    hint #36\n" /* bti j */
        "    ldp x0, x9, [sp], #16\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    blr x9\n"
        "    brk #1\n"
        ".cfi_endproc\n"
        ".size fiber_switch_base, . - fiber_switch_base\n"
        ".popsection\n");

#    endif

void fiber_context_make(struct fiber_context *c, void *low, size_t bytes,
    void (*start)(void *arg), void *arg)
{
    /* The two zeros lie where an unwinder that follows frames would look for
     * the caller of the base. Below them the stack is a multiple of 16, as it
     * has to be where a function is called. */
    uintptr_t top = ((uintptr_t)low + bytes) & ~(uintptr_t)15;
    uintptr_t *words = (uintptr_t *)(void *)(top - 4 * sizeof(uintptr_t));
    words[0] = (uintptr_t)arg;
    words[1] = (uintptr_t)start;
    words[2] = 0;
    words[3] = 0;
    *c = (struct fiber_context){
        .sp = words, .pc = (void *)(uintptr_t)fiber_switch_base};
}

#else

/* ISO C wants something in every file. */
enum { FIBER_SWITCH_IS_NOT_USED };

#endif
