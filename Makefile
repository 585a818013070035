# SPDX-License-Identifier: MIT
# A thin front: each target calls the script or tool that does the work.
.PHONY: all demo check check-slow bench tidy format clean

all:
	tools/build.sh

demo:
	./demo.sh

check:
	./check.sh

check-slow:
	./check.sh --slow

bench:
	bench/bench.sh

# Slower and noisier than the lints of `make check`, so on request.
tidy:
	tools/setup.sh tidy
	tools/build.sh
	find src -name '*.c' | xargs clang-tidy --quiet -p build/release

format:
	find include src tests bench -name '*.[ch]' | xargs clang-format -i

clean:
	rm -rf build
