/* SPDX-License-Identifier: MIT */
/* The program. Everything is in cli/, so that tests can link it. */
#include "cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
