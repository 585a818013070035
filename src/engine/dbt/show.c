/* SPDX-License-Identifier: MIT */
/* Translations for people (`--trace blocks`) and for perf(1) (`--dbt perf-map`).
 *
 * A trace shows each guest instruction with its linear address, followed by the host code that
 * stands for it, with host addresses; then the stubs that ask for links. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <Zydis/Zydis.h>

#include "engine/dbt/dbt.h"

static void show_host(const struct dbt *d, const ZydisDecoder *decoder,
                      const ZydisFormatter *formatter, uint32_t from, uint32_t to)
{
    while (from < to) {
        const uint8_t *p = d->cache.reserve + from;
        ZydisDecodedInstruction in;
        ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
        char text[128] = "(not an instruction)";
        unsigned len = 1;
        if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, p, to - from, &in, operands))) {
            len = in.length;
            ZydisFormatterFormatInstruction(formatter, &in, operands, in.operand_count_visible,
                                            text, sizeof text, (ZyanU64)(uintptr_t)p, NULL);
        }
        log_line(d->v->log, LOG_INFO, "trace-block", "    %#" PRIxPTR "  %s", (uintptr_t)p, text);
        from += len;
    }
}

static void show_guest(const struct dbt *d, const struct tb_mark *mark)
{
    const struct tb *tb = &d->tb;
    uint8_t bytes[16];
    unsigned len = 0;
    while (len < sizeof bytes && mark->guest + len < PAGE_BYTES)
        bytes[len] = tb->bytes[mark->guest + len], len++;
    for (unsigned i = 0; tb->next && len < sizeof bytes; i++)
        bytes[len++] = tb->next[i];
    uint32_t pc = tb->page + mark->guest;
    char text[128];
    if (!d->isa->disassemble || !d->isa->disassemble(d->v, bytes, len, pc, text, sizeof text))
        snprintf(text, sizeof text, "byte %02x", bytes[0]);
    log_line(d->v->log, LOG_INFO, "trace-block", "  %08" PRIx32 "  %s%s%s", pc, text,
             mark->entry ? "" : "  (no entry)", mark->fix ? "  (fix)" : "");
}

void show_translation(const struct dbt *d, const struct translation *t, uint32_t stubs)
{
    const struct tb *tb = &d->tb;
    ZydisDecoder decoder;
    ZydisFormatter formatter;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    log_line(d->v->log, LOG_INFO, "trace-block",
             "guest %08" PRIx32 " gpa %#" PRIx64 " mode %u: %u instructions, %u bytes of code%s",
             tb->page + tb->start, (d->pages.tpages[t->tpage].gpfn.n << PAGE_SHIFT) + tb->start,
             tb->mode, tb->marks, t->code_len, tb->straddle ? ", straddles" : "");
    for (unsigned i = 0; i < tb->marks; i++) {
        uint32_t end = i + 1 < tb->marks ? tb->mark[i + 1].host : t->code_len;
        show_guest(d, &tb->mark[i]);
        show_host(d, &decoder, &formatter, t->code + tb->mark[i].host, t->code + end);
    }
    show_host(d, &decoder, &formatter, t->code + t->code_len, stubs);
}

int show_open_perf(struct dbt *d, struct err *e)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    /* Where perf looks for it; a link that somebody put there is not followed. */
    d->perf_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (d->perf_fd >= 0)
        return 0;
    return err_set(e, errno, "perf-map", "cannot write %s: %s", path, strerror(errno));
}

void show_to_perf(struct dbt *d, const struct translation *t, uint32_t bytes)
{
    const struct tpage *p = &d->pages.tpages[t->tpage];
    dprintf(d->perf_fd, "%" PRIxPTR " %x guest_%08" PRIx32 "_mode%u\n",
            (uintptr_t)(d->cache.reserve + t->code), bytes, p->page + t->start, p->mode);
}
