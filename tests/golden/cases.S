/* SPDX-License-Identifier: MIT */
/* The guest code whose translations x86.golden shows.
 *
 *   CASE(name, modes, offset in the page, most instructions, code...)
 *
 * A translation per letter of `modes` (golden.c): W window, F flat, S select, s select over flat
 * views, B flat and b select without BMI2, C call-out, N counting, X unchained, 1 single, U user,
 * T trap-and-emulate, M no x87, MMX or SSE, P the straddling instruction itself, Q a second one in
 * its page. Where the code of a case ends, the page has a translation already. Labels 8 and 9 are
 * taken. */
    .section .rodata
    .intel_syntax noprefix
    .code32
    .globl golden_cases, golden_cases_end

#define CASE(name, modes, at, max, ...)                                                            \
    .2byte 9f - 8f, at, max; .asciz modes; .asciz name; 8: __VA_ARGS__; 9:

golden_cases:

/* ---- copied ------------------------------------------------------------------------------- */

CASE("registers", "W", 0x100, 128,
    mov eax, ebx; add ecx, edx; sub al, bh; adc si, di; mov ah, 5; mov esp, ebp; add esp, 16;
    and esp, -16; xchg eax, esp; bswap esp; lahf; sahf; cmc; cwde; cbw; cdq; cwd; not dl)
CASE("one-byte inc and dec", "W", 0x100, 128,
    inc eax; dec edi; inc esp; dec bp; inc sp; .byte 0xfe, 0xc4; .byte 0xff, 0xc4)
CASE("immediates", "W", 0x100, 128,
    mov eax, 0x12345678; mov sp, 0x1234; mov ch, 0x12; add ebx, 0x1234; add ebx, 0x12;
    .byte 0x66, 0x81, 0xc3, 0x34, 0x12; .byte 0x82, 0xc0, 0x7f; test al, 0x80; imul eax, esp, 0x1000;
    imul ax, bx, 3; test esi, 0x80000000; mov dword ptr [ebx], 0x11223344; mov word ptr [ebx], 0x1122;
    add byte ptr [ebx + 4], 1)
CASE("shifts and bits", "W", 0x100, 128,
    shl eax, 1; shl esp, cl; sar dh, 7; rcl word ptr [eax], cl; shld ecx, esp, 5; shrd [eax], edx, cl;
    bsf eax, esp; bsr ecx, [eax]; bt esp, ecx; bts eax, 31; btr dword ptr [eax], 31; btc ax, cx)
CASE("addresses", "WF", 0x100, 128,
    mov eax, [ebx]; mov eax, [ebp]; mov eax, [esp]; mov [esp + 8], esp; mov ecx, [eax + esi*8 - 0x1000];
    mov ecx, [esp + ebp*4]; mov ecx, [edi*2 + 0x10]; mov ecx, [0xc0001000 + ebx];
    .byte 0x8b, 0x0d; .4byte 0xc0001000)
CASE("sizes", "FSB", 0x100, 128,
    mov al, [ebx]; mov ax, [ebx]; fld tbyte ptr [ebx]; movups xmm1, [ebx]; cmpxchg8b [ebx])
CASE("segments", "WF", 0x100, 128,
    mov eax, es:[ebx]; mov eax, cs:[ebx]; mov eax, ss:[ebx]; mov eax, gs:[0x14]; mov eax, fs:[ebx];
    mov fs:[ebx - 4], eax; mov eax, gs:[ebx + ecx*4]; mov eax, gs:[ecx*4 + 8]; inc dword ptr fs:[esp])
CASE("writing by CS is for the interpreter", "WF", 0x100, 128, mov cs:[ebx], eax)
CASE("absolute moves", "WF", 0x100, 128,
    .byte 0xa0; .4byte 0xc0001000; .byte 0xa1; .4byte 0x1000; .byte 0x66, 0xa1; .4byte 0x1000;
    .byte 0xa2; .4byte 0x1000; .byte 0x65, 0xa3; .4byte 0x1000; .byte 0x67, 0xa1; .2byte 0xfff0)
CASE("16-bit addresses", "WF", 0x100, 128,
    mov eax, [bx + si]; mov eax, [bp - 2]; mov [di + 0x1234], al; mov eax, fs:[bx];
    .byte 0x67, 0x8b, 0x0e; .2byte 0x8000)
CASE("16-bit addresses left to the interpreter: lea", "W", 0x100, 128, lea eax, [bx + si])
CASE("16-bit addresses left to the interpreter: bits beyond the operand", "W", 0x100, 128,
    btr dword ptr [bx], 5; bts [bx], ecx)
CASE("16-bit addresses left to the interpreter: xlat", "W", 0x100, 128, .byte 0x67, 0xd7)
CASE("16-bit addresses left to the interpreter: movs", "W", 0x100, 128, .byte 0x67, 0xa4)
CASE("16-bit addresses left to the interpreter: jcxz", "W", 0x100, 128, 1: jcxz 1b)
CASE("16-bit addresses left to the interpreter: loop by cx", "W", 0x100, 128, .byte 0x67, 0xe2, 0xfd)
CASE("lea", "WF", 0x100, 128,
    lea eax, [esp + 4]; lea esp, [ebp - 12]; lea ax, [ebx + ecx]; .byte 0x64, 0x8d, 0x03;
    .byte 0x8d, 0x05; .4byte 0xffff0000; lea ecx, [eax*8])
CASE("high bytes", "WFS", 0x100, 128,
    mov ah, [ebx]; mov [esp], bh; mov dh, [esp + esi]; add ch, [esp]; xchg [esp], ah; cmp [esp], dh)
CASE("high bytes by FS", "W", 0x100, 128, mov ah, fs:[ebx])
CASE("high byte into esp", "W", 0x100, 128, movzx esp, ah)
CASE("byte to word and long", "W", 0x100, 128,
    movzx eax, ah; movsx sp, cl; movzx esp, byte ptr [esp]; movsx eax, word ptr [ebx]; setz ah;
    setnz [esp]; cmovz esp, [eax])
CASE("locked", "WF", 0x100, 128,
    lock add [ebx], eax; lock cmpxchg [esp], ecx; lock xadd [ebx], ax; lock cmpxchg8b [ebx];
    lock inc byte ptr fs:[ebx]; xchg [ebx], esp)
CASE("the longest", "W", 0x100, 128,
    lock add dword ptr fs:[ebx + ecx*8 + 0x12345678], 0x9abcdef0)
CASE("multiply and divide", "W", 0x100, 128,
    mul ecx; imul esp; div byte ptr [ebx]; idiv dword ptr [esp]; imul esp, [ebx])
CASE("prefixes that mean nothing", "W", 0x100, 128,
    .byte 0xf3, 0x89, 0xd8; .byte 0xf3, 0x0f, 0xbc, 0xc3; .byte 0xf2, 0x0f, 0xbd, 0xc3;
    .byte 0x2e, 0x89, 0xd8; .byte 0x66, 0xf3, 0x89, 0xd8; .byte 0x67, 0x89, 0xd8;
    .byte 0xf3, 0x90; .byte 0x66, 0x66, 0x89, 0xd8)
CASE("nops", "W", 0x100, 128,
    nop; .byte 0x66, 0x90; .byte 0x0f, 0x1f, 0x44, 0x00, 0x00; .byte 0xf3, 0x0f, 0x1e, 0xfb;
    .byte 0x0f, 0x18, 0x00)
CASE("x87", "WF", 0x100, 128,
    fld dword ptr [ebx]; fstp qword ptr [esp]; fadd st, st(3); fild word ptr [ebx]; fbstp [ebx];
    fnstcw [esp]; fnstsw ax; fwait; fcomi st, st(1); .byte 0x66, 0xd9, 0x00)
CASE("MMX and SSE", "W", 0x100, 128,
    movd mm1, esp; movq mm2, [ebx]; paddb mm2, mm3; emms; movaps xmm1, [ebx]; movd xmm0, esp;
    movsd xmm2, [esp + 8]; pxor xmm1, xmm7; movdqu [ebx], xmm3; cvtsi2sd xmm0, esp; cvttss2si esp, xmm1;
    pextrw esp, xmm1, 3; pinsrw xmm1, [ebx], 2; movmskps esp, xmm1; shufps xmm1, [ebx], 0x1b;
    movnti [ebx], esp; stmxcsr [ebx]; psllw xmm1, 3; prefetcht0 [ebx]; sfence)
CASE("x87 where it is off", "M", 0x100, 128, mov eax, ebx; fld1)
CASE("SSE where it is off", "M", 0x100, 128, mov eax, ebx; movaps xmm0, xmm1)

/* ---- the stack ---------------------------------------------------------------------------- */

CASE("runs of pushes and pops", "WFN", 0x100, 128,
    push ebp; push edi; push 1; push 0x12345678; mov eax, ebx; pop eax; pop edi; push ecx; pop ebp;
    sub esp, 8)
CASE("push and pop of esp", "WF", 0x100, 128, push eax; push esp; push ebx; pop esp; pop ecx)
CASE("push and pop of memory", "WF", 0x100, 128,
    push [ebx]; push [esp + 4]; pop [ebx]; pop [esp + 4]; push fs:[0]; pop fs:[ebx])
CASE("push of memory chosen by address", "S", 0x100, 128, push [ebx])
CASE("pop to memory chosen by address", "S", 0x100, 128, pop [ebx])
CASE("rare forms of push", "W", 0x100, 128, .byte 0xff, 0xf3; .byte 0xff, 0xf4)
CASE("rare form of pop", "W", 0x100, 128, .byte 0x8f, 0xc3)
CASE("push of 16 bits", "W", 0x100, 128, push eax; .byte 0x66, 0x50)
CASE("push of a 16-bit immediate", "W", 0x100, 128, .byte 0x66, 0x68, 0x34, 0x12)
CASE("leave", "WF", 0x100, 128, leave)
CASE("leave of 16 bits", "W", 0x100, 128, .byte 0x66, 0xc9)
CASE("segment registers to stack and registers", "WF", 0x100, 128,
    push ds; push cs; push fs; mov eax, ds; mov esp, cs; mov ebx, gs)
CASE("segment registers loaded", "WF", 0x100, 128,
    pop es; mov ds, eax; mov es, esp; pop fs; mov gs, ecx)
CASE("segment registers loaded, exactly counted", "N", 0x100, 128, mov ds, eax)
CASE("stack segment loaded", "W", 0x100, 128, mov ss, eax)
CASE("segment register in memory", "W", 0x100, 128, .byte 0x8e, 0x1b)
CASE("pushf", "WF", 0x100, 128, pushfd)
CASE("popf", "W", 0x100, 128, push eax; popfd)
CASE("pusha", "W", 0x100, 128, pushad)
CASE("enter", "W", 0x100, 128, enter 8, 1)

/* ---- flags, strings, data ----------------------------------------------------------------- */

CASE("cli, sti", "WNU", 0x100, 128, cli; mov eax, ebx; sti; mov ecx, edx; mov ebx, eax)
CASE("cli without a virtual interrupt flag", "T", 0x100, 128, cli)
CASE("sti shadow: a jump", "W", 0x100, 128, 1: sti; jmp 1b)
CASE("sti shadow: a push", "W", 0x100, 128, sti; push eax; push ebx)
CASE("sti shadow: declined", "W", 0x100, 128, sti; hlt)
CASE("sti shadow: a second sti", "W", 0x100, 128, sti; sti)
CASE("sti shadow: the most instructions", "W", 0x100, 1, sti; nop; nop)
CASE("sti shadow: the page ends", "W", 0xfff, 128, sti)
CASE("sti shadow: the next one straddles", "W", 0xffe, 128, sti; mov eax, [ebx])
CASE("sti shadow: sti itself straddles", "P", 0xfff, 128, .byte 0x66, 0xfb)
CASE("cld, std", "W", 0x100, 128, cld; std)
CASE("strings", "W", 0x100, 128,
    movsb; movsd; rep movsd; stosb; rep stosd; lodsb; lodsw; scasb; repne scasb; repe cmpsb;
    rep movs byte ptr es:[edi], byte ptr cs:[esi]; movsw)
CASE("strings over flat views", "F", 0x100, 128, movsd)
CASE("strings chosen by address", "S", 0x100, 128, rep movsd)
CASE("strings by FS", "W", 0x100, 128, .byte 0x64, 0xa5)
CASE("stores by FS have no effect on ES", "W", 0x100, 128, .byte 0x64, 0xab)
CASE("xlat", "WFSsBb", 0x100, 128, xlatb)
CASE("xlat by FS", "W", 0x100, 128, .byte 0x64, 0xd7)
CASE("bits beyond the operand", "WFS", 0x100, 128,
    bt [ebx], ecx; lock bts [esp + 4], esp; btr fs:[ebx], eax; bts dword ptr [ebx], 5)
CASE("bits beyond the operand, 16 bits", "W", 0x100, 128, bts [ebx], cx)

/* ---- control flow -------------------------------------------------------------------------- */

CASE("conditional jumps in the page and out of it", "WNX1", 0x100, 128,
    1: dec eax; jz 2f; jnz 1b; jo . + 0x3000; js . - 0x3000; 2: mov eax, ebx)
CASE("loops", "WX", 0x100, 128,
    1: loop 1b; loope 1b; loopne 2f; jecxz 1b; 2: mov eax, ebx)
CASE("jump in the page", "W1", 0x100, 128, jmp . + 0x20)
CASE("jump out of the page", "WNX", 0x100, 128, jmp . + 0x3000)
CASE("jump through a register", "WX", 0x100, 128, jmp esp)
CASE("jump through memory", "WFS", 0x100, 128, jmp [ebx*4 + 0x1000])
CASE("jump through a table by CS", "W", 0x100, 128, jmp cs:[ebx*4 + 0x1000])
CASE("call in the page", "WFNX", 0x100, 128, call 1f; mov eax, ebx; 1: nop)
CASE("call out of the page", "W", 0x100, 128, push eax; call . + 0x3000; add esp, 4)
CASE("call of the next instruction", "W", 0x100, 128, call 1f; 1: pop ebx)
CASE("call of a pc thunk", "WF", 0x100, 128,
    call 1f; add ebx, 0x1000; jmp 2f; 1: mov ebx, [esp]; ret; 2: nop)
CASE("call through a register and memory", "WFSN", 0x100, 128, call eax; call esp; call [esp + 4])
CASE("return", "WFNXB", 0x100, 128, ret)
CASE("return that releases", "W", 0x100, 128, ret 0xfffc)
CASE("return with a prefix", "W", 0x100, 128, .byte 0xf3, 0xc3)
CASE("16-bit jump", "W", 0x100, 128, .byte 0x66, 0xeb, 0x10)
CASE("16-bit conditional jump", "W", 0x100, 128, .byte 0x66, 0x74, 0x10)
CASE("16-bit near conditional jump", "W", 0x100, 128, .byte 0x66, 0x0f, 0x84, 0x10, 0x00)
CASE("16-bit call", "W", 0x100, 128, .byte 0x66, 0xe8, 0x10, 0x00)
CASE("16-bit return", "W", 0x100, 128, .byte 0x66, 0xc3)
CASE("16-bit loop", "W", 0x100, 128, .byte 0x66, 0xe2, 0x10)
CASE("16-bit indirect jump", "W", 0x100, 128, .byte 0x66, 0xff, 0xe0)

/* ---- ends ----------------------------------------------------------------------------------- */

CASE("the page ends", "WX", 0xffe, 128, mov eax, ebx)
CASE("the page ends behind a push", "W", 0xffe, 128, push eax; push ebx)
CASE("the last one straddles", "WXQ", 0xffd, 128, push eax; mov eax, [ebx + 8])
CASE("the straddling one", "P", 0xffe, 128, mov eax, [ebx + 8])
CASE("the straddling jump", "P", 0xfff, 128, jmp . + 0x20)
CASE("the straddling conditional jump", "P", 0xffe, 128, jz . + 0x3000)
CASE("the straddling push", "P", 0xfff, 128, push 1)
CASE("the straddling call-out", "P", 0xfff, 128, cpuid)
CASE("the most instructions", "W", 0x100, 2, mov eax, ebx; push ecx; mov edx, eax)

/* ---- left to the interpreter --------------------------------------------------------------- */

CASE("call-out", "C", 0x100, 128, push eax; mov eax, [ebx]; mov ecx, eax)
CASE("call-out of a pop", "C", 0x100, 128, push eax; pop ecx)
CASE("undefined", "W", 0x100, 128, push eax; ud2)
CASE("no row", "W", 0x100, 128, .byte 0x0f, 0x38, 0x00, 0xc0)
CASE("VEX", "W", 0x100, 128, .byte 0xc5, 0xf8, 0x28, 0xc1)
CASE("too long", "W", 0x100, 128,
    .byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x89, 0xc0)
CASE("int", "W", 0x100, 128, int 0x80)
CASE("int3", "W", 0x100, 128, int3)
CASE("into", "W", 0x100, 128, into)
CASE("iret", "W", 0x100, 128, iretd)
CASE("far jump", "W", 0x100, 128, .byte 0xea, 0, 0, 0, 0, 8, 0)
CASE("far call", "W", 0x100, 128, .byte 0xff, 0x1b)
CASE("far return", "W", 0x100, 128, .byte 0xcb)
CASE("sysenter", "W", 0x100, 128, sysenter)
CASE("in", "W", 0x100, 128, in al, dx)
CASE("outs", "W", 0x100, 128, outsb)
CASE("hlt", "W", 0x100, 128, hlt)
CASE("mov cr", "W", 0x100, 128, mov cr3, eax)
CASE("mov dr", "W", 0x100, 128, mov eax, dr7)
CASE("lgdt", "W", 0x100, 128, lgdt [ebx])
CASE("sgdt", "W", 0x100, 128, sgdt [ebx])
CASE("smsw", "W", 0x100, 128, smsw eax)
CASE("str", "W", 0x100, 128, str eax)
CASE("lar", "W", 0x100, 128, lar eax, ebx)
CASE("verr", "W", 0x100, 128, verr ax)
CASE("arpl", "W", 0x100, 128, arpl ax, bx)
CASE("cpuid", "W", 0x100, 128, cpuid)
CASE("rdtsc", "W", 0x100, 128, rdtsc)
CASE("rdmsr", "W", 0x100, 128, rdmsr)
CASE("clts", "W", 0x100, 128, clts)
CASE("invlpg", "W", 0x100, 128, invlpg [eax])
CASE("lds", "W", 0x100, 128, lds eax, [ebx])
CASE("bound", "W", 0x100, 128, bound eax, [ebx])
CASE("daa", "W", 0x100, 128, daa)
CASE("salc", "W", 0x100, 128, .byte 0xd6)
CASE("fxsave", "W", 0x100, 128, fxsave [ebx])
CASE("ldmxcsr", "W", 0x100, 128, ldmxcsr [ebx])
CASE("fnstenv", "W", 0x100, 128, fnstenv [ebx])
CASE("maskmovq", "W", 0x100, 128, maskmovq mm0, mm1)

golden_cases_end:
    .section .note.GNU-stack, "", @progbits
