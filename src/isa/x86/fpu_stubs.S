/* SPDX-License-Identifier: MIT */
/* One tiny function for each x87, MMX and SSE instruction form: the instruction itself and ret.
 * They follow the C calling convention, so that C calls them with no assembly of its own: memory
 * operands are at [rdi] (first pointer argument), XMM operands in xmm0 and xmm1 (first two vector
 * arguments) with the result in xmm0, general-purpose operands in edi and eax. x87 and MMX
 * registers are the guest's, live in the host.
 *
 * x87 and MMX forms exist for every register combination, since register numbers matter there;
 * SSE forms are normalised to `op xmm0, xmm1`. Which ones exist comes from mmx.def and sse.def.
 * x87 stubs of undefined opcodes are never called: the decoder knows no such instruction. */

        .macro  hidden name
        .globl  \name
        .hidden \name
        .type   \name, @function
\name:
        .endm

        .text

/* ---- x87: 4 bytes each ------------------------------------------------------------------------- */

        .balign 16
hidden  x86_x87_reg_stubs       /* [opcode - D8h][modrm - C0h] */
        .irp    op, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf
        .set    modrm, 0xc0
        .rept   64
        .byte   \op, modrm
        ret
        .balign 4
        .set    modrm, modrm + 1
        .endr
        .endr

hidden  x86_x87_mem_stubs       /* [opcode - D8h][modrm.reg] */
        .irp    op, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf
        .set    modrm, 0x07
        .rept   8
        .byte   \op, modrm
        ret
        .balign 4
        .set    modrm, modrm + 8
        .endr
        .endr

/* unsigned x86_x87_with_flags(stub, cc): load CC_* flags, run a stub, return the flags. */
        .balign 16
hidden  x86_x87_with_flags
        movl    %esi, %eax
        addb    $0x7f, %al      /* OF again from bit 0 */
        sahf
        call    *%rdi
        lahf
        seto    %al
        movzwl  %ax, %eax
        ret

/* ---- MMX and SSE ------------------------------------------------------------------------------- */

        .macro  prefix_NP
        .endm
        .macro  prefix_66
        .byte   0x66
        .endm
        .macro  prefix_F3
        .byte   0xf3
        .endm
        .macro  prefix_F2
        .byte   0xf2
        .endm

        .macro  stub p, op
        .balign 8
hidden  x86_simd_\p\()_\op
        .endm

        .macro  insn p, op, modrm
        prefix_\p
        .byte   0x0f, 0x\op, \modrm
        .endm

/* 64 register forms, then 8 memory forms, 4 bytes each. */
        .macro  emit_mmx p, op
        stub    \p, \op
        .set    modrm, 0xc0
        .rept   64
        insn    \p, \op, modrm
        ret
        .set    modrm, modrm + 1
        .endr
        .set    modrm, 0x07
        .rept   8
        insn    \p, \op, modrm
        ret
        .set    modrm, modrm + 8
        .endr
        .endm

/* xmm0, xmm1; or eax, xmm1 */
        .macro  emit_xmm p, op
        stub    \p, \op
        insn    \p, \op, 0xc1
        ret
        .endm

/* xmm0, xmm1, imm8: one for each immediate, 8 bytes each. */
        .macro  emit_imm p, op, count
        stub    \p, \op
        .set    imm, 0
        .rept   \count
        insn    \p, \op, 0xc1
        .byte   imm
        ret
        .balign 8
        .set    imm, imm + 1
        .endr
        .endm

/* xmm0, edi */
        .macro  emit_from_gpr p, op
        stub    \p, \op
        insn    \p, \op, 0xc7
        ret
        .endm

/* Compare xmm0 with xmm1; the flags in CC_* form. */
        .macro  emit_flags p, op
        stub    \p, \op
        insn    \p, \op, 0xc1
        lahf
        seto    %al
        movzwl  %ax, %eax
        ret
        .endm

/* xmm0, mm0-7; then xmm0, [rdi]; 8 bytes each. */
        .macro  emit_from_mmx p, op
        stub    \p, \op
        .irp    modrm, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0x07
        insn    \p, \op, \modrm
        ret
        .balign 8
        .endr
        .endm

        .macro  emit_none p, op
        .endm

        .macro  emit_imm256 p, op
        emit_imm \p, \op, 256
        .endm
        .macro  emit_imm8 p, op
        emit_imm \p, \op, 8
        .endm

#define F(mnemonic, p, op, stub_kind, run, size, flags) emit_##stub_kind p, op;
#define G F
#define H(p, op, stub_kind, run, size, flags) emit_##stub_kind p, op;
#include "mmx.def"
#include "sse.def"

        .section .note.GNU-stack, "", @progbits
