# The daily words. Everything else: cargo xtask --help

# what is there
default:
    @just --list

# type-check everything
check:
    cargo clippy --workspace --all-targets

# format everything
fmt:
    cargo fmt --all

# what every commit passes
gate:
    cargo xtask gate

# all tests, as CI runs them
test:
    cargo xtask test

# the main job, with times
demo:
    cargo xtask demo

# sizes, purity, names, links
tidy:
    cargo xtask tidy
