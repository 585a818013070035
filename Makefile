# SPDX-License-Identifier: MIT
# A thin front: each target calls the script or tool that does the work.
.PHONY: all demo check check-slow soak bench tidy format clean

all:
	tools/build.sh

demo:
	./demo.sh

check:
	./check.sh

check-slow:
	./check.sh --slow

# An hour, or as many minutes as `make soak MINUTES=10` says.
MINUTES = 60
soak:
	tools/soak.sh $(MINUTES)

# Options: make bench ARGS='--rounds 1'
bench:
	bench/bench.sh $(ARGS)

# Slower and noisier than the lints of `make check`, so on request.
tidy:
	tools/setup.sh tidy
	tools/build.sh
	find src -name '*.c' | xargs clang-tidy --quiet -p build/release

format:
	find include src tests bench -name '*.[ch]' | xargs clang-format -i

clean:
	rm -rf build
