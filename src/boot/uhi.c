/* SPDX-License-Identifier: MIT */
/* MIPS kernels with a device tree: an ELF32 file is entered by the boot protocol of the Unified
 * Hosting Interface (MD01069, "Linux boot protocol"): a0 = -2, a1 = address of the tree in KSEG0,
 * at the file's entry point. The machine describes itself in the tree; command line and initrd are
 * added here, in node /chosen, as the Devicetree Specification (3.6) and Linux have it.
 *
 *   0        the kernel may use it         kernel, wherever it is linked to
 *   initrd   as high as it fits            tree   in the last 64 KiB of RAM in KSEG0
 *
 * Left out: trees appended to the kernel, environment and arguments as older boot loaders give. */
#include "boot/loader.h"

#include <errno.h>
#include <libfdt.h>
#include <string.h>

#define KSEG0       0x80000000u
#define UHI_TREE    0xfffffffeu /* a0: a1 is a device tree */
#define CMDLINE_MAX 4095        /* COMMAND_LINE_SIZE of Linux on MIPS, less the NUL */

/* The tree's place: the end of the RAM at 0, which KSEG0 shows. */
static int reserve_tree(struct loading *l, uint64_t *low_end, struct err *e)
{
    const struct boot_request *req = l->req;

    *low_end = 0;
    for (size_t i = 0; i < req->map_count; i++)
        if (req->map[i].type == E820_RAM && !req->map[i].base)
            *low_end = req->map[i].len;
    if (*low_end < 2 * BOOT_TREE_BYTES)
        return err_set(e, EINVAL, "memory-map", "no RAM at 0 for boot data");
    l->own_end = *low_end;
    l->own_start = *low_end - BOOT_TREE_BYTES;
    return 0;
}

/* libfdt's own errors: memory is what they are about, since we made the tree. */
static int add_chosen(const struct loading *l, void *tree)
{
    const struct boot_plan *plan = l->plan;
    const char *append = l->req->append ? l->req->append : "";
    int r = fdt_open_into(l->req->tree, tree, BOOT_TREE_BYTES);
    if (r < 0)
        return r;
    int node = fdt_path_offset(tree, "/chosen");
    if (node == -FDT_ERR_NOTFOUND)
        node = fdt_add_subnode(tree, 0, "chosen");
    if (node < 0)
        return node;
    r = fdt_setprop_string(tree, node, "bootargs", append);
    if (r < 0 || !plan->initrd_bytes)
        return r;
    r = fdt_setprop_u32(tree, node, "linux,initrd-start", (uint32_t)plan->initrd_start);
    if (r < 0)
        return r;
    return fdt_setprop_u32(tree, node, "linux,initrd-end",
                           (uint32_t)(plan->initrd_start + plan->initrd_bytes));
}

static int put_tree(struct loading *l, struct err *e)
{
    uint8_t tree[BOOT_TREE_BYTES];

    int r = add_chosen(l, tree);
    if (r == 0)
        r = fdt_pack(tree);
    if (r < 0)
        return err_set(e, EINVAL, "device-tree", "the machine's device tree: %s", fdt_strerror(r));
    if (phys_load(l->req->mem, l->own_start, tree, fdt_totalsize(tree)) < 0)
        return err_set(e, EINVAL, "memory-map", "no RAM behind the memory map at the tree's place");
    return 0;
}

static int check_cmdline(const struct boot_request *req, struct err *e)
{
    size_t n = req->append ? strlen(req->append) : 0;

    if (n <= CMDLINE_MAX)
        return 0;
    return err_set(e, E2BIG, "cmdline-too-long",
                   "the kernel command line has %zu bytes, this kernel takes at most %d", n,
                   CMDLINE_MAX);
}

int uhi_load(struct loading *l, struct err *e)
{
    uint64_t low_end;

    l->plan->format = "ELF";
    int r = check_cmdline(l->req, e);
    if (r == 0)
        r = reserve_tree(l, &low_end, e);
    if (r == 0)
        r = elf_load(l, e);
    if (r == 0)
        r = boot_load_initrd(l, MIB, l->own_start, true, e);
    if (r == 0)
        r = put_tree(l, e);
    if (r < 0)
        return r;
    l->plan->argument[0] = UHI_TREE;
    l->plan->argument[1] = KSEG0 | (uint32_t)l->own_start;
    return 0;
}
