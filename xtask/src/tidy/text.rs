//! Lines of any text file: length, trailing space, paths of one machine, addresses of package
//! hosts. The forbidden texts are put together here, so that this file does not hold them.

use super::Finding;

/// Most columns of a line of code.
const COLUMNS_MAX: usize = 100;

/// Folders of a machine that is not the reader's.
const MACHINE_PATHS: [[&str; 2]; 3] = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"]];

/// Hosts of package registries: clients know them, we do not name them.
const PACKAGE_HOSTS: [[&str; 2]; 6] = [
    ["crates", ".io"],
    ["proxy.golang", ".org"],
    ["sum.golang", ".org"],
    ["registry.npmjs", ".org"],
    ["pypi", ".org"],
    ["deb.debian", ".org"],
];

/// Finds faults in the lines of one file.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut found = |what: String, remedy: &str| {
            findings.push(Finding::new(path, index + 1, what, remedy));
        };
        let columns = line.chars().count();
        if path.ends_with(".rs") && columns > COLUMNS_MAX {
            found(
                format!("has {columns} columns, {COLUMNS_MAX} are allowed"),
                "break the line",
            );
        }
        if line.ends_with([' ', '\t']) && !path.ends_with(".md") {
            found("ends in white space".to_owned(), "cut it off");
        }
        for wrong in MACHINE_PATHS.map(|parts| parts.concat()) {
            if starts_path(line, &wrong) {
                found(
                    format!("names {wrong}"),
                    "use a path from the repository's root",
                );
            }
        }
        for host in PACKAGE_HOSTS.map(|parts| parts.concat()) {
            if line.contains(&host) {
                found(
                    format!("names {host}"),
                    "leave package hosts to their clients",
                );
            }
        }
    }
    findings
}

/// Tells whether an absolute path in `line` starts with `wanted`; `./home/` and `x/home/` do not.
fn starts_path(line: &str, wanted: &str) -> bool {
    line.match_indices(wanted).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}~/".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text)
            .iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn a_line_over_a_hundred_columns_is_found_in_code_only() {
        let long = format!("\n{}", "ä".repeat(101));
        assert_eq!(lines("a.rs", &long), [2]);
        assert_eq!(lines("a.rs", &"ä".repeat(100)), [] as [usize; 0]);
        assert_eq!(lines("a.md", &long), [] as [usize; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let path = MACHINE_PATHS[2].concat();
        assert_eq!(lines("a.md", &format!("see {path}me/x")), [1]);
        assert_eq!(lines("a.md", &format!("see docs{path}x")), [] as [usize; 0]);
    }

    #[test]
    fn a_package_host_is_found() {
        assert_eq!(
            lines("a.toml", &format!("# from {}", PACKAGE_HOSTS[0].concat())),
            [1]
        );
    }

    #[test]
    fn trailing_white_space_is_found() {
        assert_eq!(lines("a.rs", "a \nb\n"), [1]);
    }
}
