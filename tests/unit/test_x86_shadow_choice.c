/* SPDX-License-Identifier: MIT */
/* Shadow views: what a supervisor sees of user memory, which table code that selects looks at,
 * pages mapped before they are asked for, spaces that earn a window. */
#include "x86_shadow_rig.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define CR3_A DIRECTORY(0)
#define CR3_B DIRECTORY(1)

/* ---- the supervisor and user memory ---------------------------------------------------------- */

/* A kernel in the last quarter, user memory below, user code seen. */
static void become_kernel(struct rig *r)
{
    map(r, 0xc0000000, DATA_AT | (ALL & ~US));
    map(r, 0xc0100000, DATA_AT | (ALL & ~US));
    map(r, 0x400000, (DATA_AT + 0x1000) | ALL);
    map(r, 0x440000, (DATA_AT + 0x2000) | (ALL & ~RW));
    rig_ring(r, 3);
    enter(r);
    rig_ring(r, 0);
    r->v->eip = 0xc0000000;
    x86_w32(r->v, X86_ESP, 0xc0000800);
    enter(r);
}

static void user_memory_is_foreign_to_a_kernel(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    assert_int_equal(load(r, 0x400000), DBT_FOREIGN);
    assert_int_equal(load(r, 0xc0000000), DBT_RESUME);
    /* Code that selects: the user's table, with the user's pages. */
    assert_int_equal(x86_shadow_fault(r->v, 0x400000, false, TB_SELECT), DBT_RESUME);
    assert_int_equal(r->v->gen.select[0], flat_table(r->s->owner->flat) | 12);
    assert_int_equal(flat_shows(r, r->s->owner, 0x400000, true), DATA_AT + 0x1000);
    assert_int_equal(r->v->gen.select[3], flat_table(r->s->space[0].flat) | 12);
    assert_int_equal(x86_shadow_fault(r->v, 0xc0100000, false, TB_SELECT), DBT_RESUME);
    assert_int_equal(flat_shows(r, &r->s->space[0], 0xc0100000, true), DATA_AT);
    /* It follows CR3. */
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x3000) | ALL);
    rig_cr3(r, CR3_B);
    enter(r);
    if (r->s->owner->flat)
        assert_int_equal(flat_shows(r, r->s->owner, 0x400000, false), -1);
    assert_int_equal(x86_shadow_fault(r->v, 0x400000, true, TB_SELECT), DBT_RESUME);
    assert_int_equal(r->v->gen.select[0], flat_table(r->s->owner->flat) | 12);
    assert_int_equal(flat_shows(r, r->s->owner, 0x400000, true), DATA_AT + 0x3000);
    rig_cr3(r, CR3_A);
    enter(r);
    assert_int_equal(r->v->gen.select[0], flat_table(r->s->owner->flat) | 12);
    assert_int_equal(flat_shows(r, r->s->owner, 0x400000, true), DATA_AT + 0x1000);
}

/* Without CR0.WP the supervisor may write where the user may not: never through the user's view. */
static void select_never_widens_user_rights(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    assert_int_equal(x86_shadow_fault(r->v, 0x440000, true, TB_SELECT), DBT_INTERPRET);
    rig_control(r, CR0_PG, 0);
    enter(r);
    assert_int_equal(x86_shadow_fault(r->v, 0x440000, true, TB_SELECT), DBT_INTERPRET);
    assert_int_equal(x86_shadow_fault(r->v, 0x440000, false, TB_SELECT), DBT_RESUME);
    assert_int_equal(flat_shows(r, r->s->owner, 0x440000, false), DATA_AT + 0x2000);
    assert_int_equal(flat_shows(r, r->s->owner, 0x440000, true), -1);
    assert_int_equal(x86_shadow_fault(r->v, 0xc0000000, true, TB_SELECT), DBT_RESUME);
    assert_int_equal(flat_shows(r, r->s->owner, 0xc0000000, false), -1);
}

static void stubborn_code_gets_its_way(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    unsigned n = 0;
    while (load(r, 0x400000) == DBT_FOREIGN && n < 100)
        n++;
    assert_in_range(n, 2, 20);
    assert_shows(r, 0x400000, false, DATA_AT + 0x1000);
    map_in(r, CR3_B, 0xc0000000, DATA_AT | (ALL & ~US));
    rig_cr3(r, CR3_B); /* not there */
    enter(r);
    assert_hides(r, 0x400000, false);
    assert_int_equal(load(r, 0x400000), DBT_INTERPRET);
}

static void a_kernel_in_user_pages_is_at_home(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    r->v->eip = 0x400000;
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    assert_int_equal(r->space, 0);
    assert_shows(r, 0x400000, true, DATA_AT + 0x1000);
}

/* Code that wants both kinds in one quarter gets a table that shows both. */
static void mixed_quarters_settle(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    map(r, 0x404000, (DATA_AT + 0x4000) | (ALL & ~US));
    unsigned faults = 0;
    for (unsigned i = 0; i < 100; i++) {
        uint32_t lin = i & 1 ? 0x404000 : 0x400000;
        const struct space *sp = r->s->select_user[0] ? r->s->owner : &r->s->space[0];
        if (flat_shows(r, sp, lin, false) >= 0)
            continue;
        faults++;
        assert_int_equal(x86_shadow_fault(r->v, lin, false, TB_SELECT), DBT_RESUME);
        sp = r->s->select_user[0] ? r->s->owner : &r->s->space[0];
        assert_true(flat_shows(r, sp, lin, false) >= 0);
        assert_int_equal(r->v->gen.select[0], flat_table(sp->flat) | 12);
    }
    assert_in_range(faults, 2, 20);
    assert_int_equal(flat_shows(r, r->s->owner, 0x404000, false), -1);
}

/* ---- map on return, promotion ---------------------------------------------------------------- */

static void the_page_a_guest_mapped_is_there_on_return(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    for (unsigned same = 0; same < 2; same++) {
        uint32_t lin = 0x500000 + same * 0x40000;
        rig_ring(r, 3);
        r->v->eip = 0x400010;
        assert_int_equal(store(r, lin), DBT_INTERPRET);
        r->v->faults[r->v->fault_next++ % X86_FAULT_LOG] =
            (struct x86_fault_log){.eip = 0x400010, .cr2 = lin, .error = 6, .vector = X86_PF};
        rig_ring(r, 0);
        r->v->eip = 0xc0000000;
        enter(r);
        map(r, lin, (DATA_AT + 0x6000) | ALL);
        x86_tlb_flush_page(r->v, lin);
        rig_ring(r, 3);
        r->v->eip = same ? 0x400010 : 0x400020; /* elsewhere: a signal handler, say */
        enter(r);
        assert_int_equal(shows(r, lin, true), same ? (int64_t)DATA_AT + 0x6000 : -1);
    }
}

static void long_lived_spaces_get_a_window(void **state)
{
    struct rig *r = *state;
    become_kernel(r);
    assert_int_equal(r->flavour, X86_FLAVOUR_WINDOW);
    rig_ring(r, 3);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    assert_int_equal(r->flavour, X86_FLAVOUR_FLAT);
    r->s->space[r->space].ran = UINT64_C(1) << 40;
    rig_ring(r, 0);
    enter(r);
    rig_ring(r, 3);
    assert_int_equal(store(r, 0x400000), DBT_RESUME);
    assert_int_equal(r->flavour, X86_FLAVOUR_WINDOW);
    assert_int_equal(x86_shadow_stats(r->s)->promotions, 1);
    /* Both forms are there now, and go together. */
    assert_int_equal(flat_shows(r, &r->s->space[r->space], 0x400000, true), DATA_AT + 0x1000);
    map(r, 0x400000, 0);
    x86_tlb_flush_page(r->v, 0x400000);
    assert_int_equal(flat_shows(r, &r->s->space[r->space], 0x400000, false), -1);
    assert_int_equal(window_shows(r, &r->s->space[r->space], 0x400000, false), -1);
}

/* ---- hosts that refuse ----------------------------------------------------------------------- */

/* A user space that gets no memory for a view is nothing for generated code, until there is some.
 */
static void no_memory_no_view(void **state)
{
    struct rig *r = *state;
    struct rlimit all, none;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its allocator could not go on */
#endif
    become_kernel(r);
    rig_cr3(r, CR3_B); /* a space that has no view yet */
    map_in(r, CR3_B, 0x400000, (DATA_AT + 0x1000) | ALL);
    assert_int_equal(getrlimit(RLIMIT_AS, &all), 0);
    none = (struct rlimit){1, all.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    rig_ring(r, 3);
    enter(r);
    setrlimit(RLIMIT_AS, &all);
    assert_int_equal(r->flavour, X86_FLAVOUR_NONE);
    rig_ring(r, 0);
    enter(r);
    rig_ring(r, 3);
    enter(r);
    assert_int_equal(r->flavour, X86_FLAVOUR_FLAT);
    assert_int_equal(load(r, 0x400000), DBT_RESUME);
}

/* From now on this process may not set its GS base. */
static bool forbid_arch_prctl(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {ARRAY_LEN(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

enum { FLAT_ONLY = 40, CANNOT_FILTER };

static int flavour_of_a_long_lived_space(struct rig *r)
{
    if (!forbid_arch_prctl())
        return CANNOT_FILTER;
    rig_ring(r, 3);
    x86_shadow_prepare(r->v, &r->flavour);
    return FLAT_ONLY - X86_FLAVOUR_FLAT + (int)r->flavour;
}

/* Neither wrgsbase nor the system call: no window is ever run in. */
static void no_gs_base_no_window(void **state)
{
    struct rig *r = *state;
    int status;
    become_kernel(r);
    assert_int_equal(r->flavour, X86_FLAVOUR_WINDOW); /* set by the system call */
    assert_false(r->s->wrgsbase);
    assert_int_equal(r->v->gen.gs_current, r->v->gen.window);
    for (unsigned i = 1; i < SHADOW_SPACES; i++)
        r->s->space[i].ran = UINT64_C(1) << 40;
    pid_t child = fork();
    if (child == 0)
        _exit(flavour_of_a_long_lived_space(r));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CANNOT_FILTER)
        skip();
    assert_int_equal(WEXITSTATUS(status), FLAT_ONLY);
    rig_ring(r, 3); /* and where it may be set, the same space does get one */
    enter(r);
    assert_int_equal(r->flavour, X86_FLAVOUR_WINDOW);
}

static int rig_make_no_fsgsbase(void **state)
{
    return rig_make_from(state, &(struct dbt_options){.no_fsgsbase = true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(user_memory_is_foreign_to_a_kernel),
        BOTH(select_never_widens_user_rights),
        BOTH(stubborn_code_gets_its_way),
        BOTH(a_kernel_in_user_pages_is_at_home),
        BOTH(mixed_quarters_settle),
        BOTH(the_page_a_guest_mapped_is_there_on_return),
        AUTO(long_lived_spaces_get_a_window),
        AUTO(no_memory_no_view),
        cmocka_unit_test_setup_teardown(no_gs_base_no_window, rig_make_no_fsgsbase, rig_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
