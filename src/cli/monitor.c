/* SPDX-License-Identifier: MIT */
/* A line editor of the smallest kind, because the terminal is raw while a guest has it: printable
 * characters, backspace, Ctrl-u, Enter; Ctrl-d on an empty line, or `exit`, goes back. Answers are
 * printed with carriage returns, for the same reason. */
#include "cli/monitor.h"

#include <stdlib.h>
#include <string.h>

#define PROMPT    "(ring3) "
#define CTRL_C    3
#define CTRL_D    4
#define BACKSPACE 8
#define CTRL_U    21
#define DELETE    127

static void print(struct monitor *m, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            putc('\r', m->out);
        putc(text[i], m->out);
    }
}

static void prompt(struct monitor *m)
{
    m->len = 0;
    fputs(PROMPT, m->out);
    fflush(m->out);
}

void monitor_enter(struct monitor *m)
{
    fputs("\r\nmonitor: \"help\" lists commands, \"exit\" or Ctrl-a c goes back to the guest\r\n",
          m->out);
    prompt(m);
}

static void execute(struct monitor *m)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    m->line[m->len] = 0;
    if (!strcmp(m->line, "exit")) {
        if (f)
            fclose(f);
        free(text);
        m->left(m->opaque);
        return;
    }
    if (f) {
        m->run(m->opaque, m->line, f);
        fclose(f);
        print(m, text, size);
    }
    free(text);
    prompt(m);
}

static void erase(struct monitor *m, size_t n)
{
    for (; n && m->len; n--) {
        do /* a whole UTF-8 character */
            m->len--;
        while (m->len && ((uint8_t)m->line[m->len] & 0xc0) == 0x80);
        fputs("\b \b", m->out);
    }
}

/* False: the user has left. */
static bool take(struct monitor *m, uint8_t byte)
{
    switch (byte) {
    case '\r':
    case '\n':
        fputs("\r\n", m->out);
        if (m->len) {
            m->line[m->len] = 0;
            bool leaves = !strcmp(m->line, "exit");
            execute(m);
            return !leaves;
        }
        prompt(m);
        return true;
    case CTRL_D:
        if (m->len)
            return true;
        m->left(m->opaque);
        return false;
    case CTRL_C:
        fputs("^C\r\n", m->out);
        prompt(m);
        return true;
    case BACKSPACE:
    case DELETE:
        erase(m, 1);
        return true;
    case CTRL_U:
        erase(m, m->len);
        return true;
    default:
        if (byte >= ' ' && m->len < MONITOR_LINE - 1) {
            m->line[m->len++] = (char)byte;
            putc(byte, m->out);
        }
        return true;
    }
}

void monitor_input(struct monitor *m, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!take(m, p[i]))
            break;
    fflush(m->out);
}
