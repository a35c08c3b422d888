//! What the start-up list says of the host. It only looks; what is missing is refused, with
//! its own words, by whoever needs it.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use sutler_host::program;

/// One thing that we need of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Finding {
    There(String),
    /// It is not, and what to do.
    Missing {
        what: &'static str,
        remedy: &'static str,
    },
}

/// Looks at this host and gives the lines of the list.
pub fn lines() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    render(&look(Path::new("/"), &path))
}

fn look(root: &Path, path: &OsStr) -> Vec<Finding> {
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let release = read("proc/sys/kernel/osrelease");
    let overlay = read("proc/filesystems")
        .lines()
        .any(|line| line.trim_end().ends_with("overlay"));
    let runc = program::find_below(root, Path::new("runc"), path).is_some();
    vec![
        Finding::There(format!("kernel {}", release.trim())),
        cgroups(&read("proc/self/mounts")),
        thing(overlay, "overlayfs", "run: modprobe overlay"),
        thing(
            root.join("dev/loop-control").exists(),
            "loop",
            "the class `local` needs loop devices; run: modprobe loop",
        ),
        thing(runc, "runc", "run: apt-get install runc"),
    ]
}

fn thing(there: bool, what: &'static str, remedy: &'static str) -> Finding {
    if there {
        Finding::There(what.to_owned())
    } else {
        Finding::Missing { what, remedy }
    }
}

/// Names the layout of control groups by what is mounted under `/sys/fs/cgroup`.
fn cgroups(mounts: &str) -> Finding {
    let mut kinds = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        point.starts_with("/sys/fs/cgroup").then_some((point, kind))
    });
    let (mut old, mut unified, mut whole) = (false, false, false);
    kinds.by_ref().for_each(|(point, kind)| match kind {
        "cgroup" => old = true,
        "cgroup2" if point == "/sys/fs/cgroup" => whole = true,
        "cgroup2" => unified = true,
        _ => {}
    });
    match (whole, old, unified) {
        (true, _, _) => Finding::There("cgroup v2".to_owned()),
        (false, true, true) => Finding::There("cgroup hybrid".to_owned()),
        (false, true, false) => Finding::There("cgroup v1".to_owned()),
        (false, false, _) => Finding::Missing {
            what: "cgroups",
            remedy: "mount them at /sys/fs/cgroup, or start the init system",
        },
    }
}

/// Writes what is there on one line, and what is missing on one line each.
fn render(findings: &[Finding]) -> Vec<String> {
    let there = findings.iter().filter_map(|finding| match finding {
        Finding::There(what) => Some(what.as_str()),
        Finding::Missing { .. } => None,
    });
    let missing = findings.iter().filter_map(|finding| match finding {
        Finding::There(_) => None,
        Finding::Missing { what, remedy } => Some(format!("  ! no {what}: {remedy}")),
    });
    let there = format!("  ✓ {}", there.collect::<Vec<_>>().join(", "));
    std::iter::once(there).chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(mounts: &str, with: &[&str]) -> Vec<String> {
        let root = tempfile::tempdir().expect("a folder");
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        write("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n");
        write("proc/self/mounts", mounts);
        for file in with {
            let overlay = *file == "proc/filesystems";
            write(
                file,
                if overlay {
                    "nodev\tproc\nnodev\toverlay\n"
                } else {
                    ""
                },
            );
        }
        render(&look(root.path(), OsStr::new("/bin")))
    }

    #[test]
    fn a_whole_host_is_one_line() {
        let v2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        let with = ["proc/filesystems", "dev/loop-control", "usr/sbin/runc"];
        let line = "  ✓ kernel 6.1.0-28-amd64, cgroup v2, overlayfs, loop, runc";
        assert_eq!(host(v2, &with), [line]);
    }

    #[test]
    fn what_is_missing_has_a_line_with_its_remedy() {
        let lines = host("", &[]);
        assert_eq!(lines[0], "  ✓ kernel 6.1.0-28-amd64");
        for (line, words) in lines[1..].iter().zip([
            "no cgroups: mount",
            "no overlayfs: run: modprobe overlay",
            "no loop: the class `local` needs loop devices; run: modprobe loop",
            "no runc: run: apt-get install runc",
        ]) {
            assert!(line.contains(words), "{line}");
        }
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn each_layout_of_cgroups_is_named() {
        let v1 = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
        let unified = "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroups(v1), Finding::There("cgroup v1".to_owned()));
        assert_eq!(
            cgroups(&format!("{v1}{unified}")),
            Finding::There("cgroup hybrid".to_owned())
        );
        let elsewhere = "cgroup2 /run/cgroup2 cgroup2 rw 0 0\n";
        assert!(matches!(cgroups(elsewhere), Finding::Missing { .. }));
    }
}
