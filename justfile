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

# the quick tests
unit:
    cargo xtask test --stage format --stage lints --stage unit

# all tests, as CI runs them
test:
    cargo xtask test

# the main job, with times
demo:
    cargo xtask demo

# sizes, purity, names, links
tidy:
    cargo xtask tidy
