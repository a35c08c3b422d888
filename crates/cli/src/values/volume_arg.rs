//! `-v NAME[:SIZE[:CLASS]]:/path[:ro]`, as `sutler run` takes it. Pure.

use std::str::FromStr;

use sutler_api::task::TaskVolumeRequest;
use sutler_ids::Bytes;
use sutler_ids::SizeError;
use sutler_ids::{ClassName, IdError, VolumeName};

/// The form, as help and errors write it.
pub(crate) const FORM: &str = "NAME[:SIZE[:CLASS]]:/path[:ro]";

/// A volume of a task, as written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeArg(pub TaskVolumeRequest);

/// Says why a text is not of the form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeArgError {
    /// The first part is a path.
    #[error("{path:?} is a folder on the host; -v takes a volume's name: {FORM}")]
    HostFolder {
        /// The first part.
        path: String,
    },
    /// Nothing after the name, size and class.
    #[error("volume {name:?} has no path inside the container; write {FORM}")]
    NoPath {
        /// The first part.
        name: String,
    },
    /// The path does not begin with a slash.
    #[error("path {path:?} is relative; a path inside the container begins with /")]
    RelativePath { path: String },
    /// The path leaves itself or hides everything.
    #[error("path {path:?} {fault}")]
    BadPath {
        path: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// More parts before the path than there are.
    #[error("{text:?} has too many parts before the path; write {FORM}")]
    TooManyParts {
        /// What was given.
        text: String,
    },
    /// Not `ro` or `rw`.
    #[error("unknown option {option:?} after the path; there are `ro` and `rw`")]
    UnknownOption { option: String },
    /// Two options.
    #[error("more than one option after the path; give `ro` or `rw`")]
    TwoOptions,
    /// The name or class is not one.
    #[error(transparent)]
    Name(#[from] IdError),
    /// The size is not one.
    #[error("volume {name}: {source}")]
    Size {
        name: VolumeName,
        /// What is wrong with it.
        source: SizeError,
    },
}

impl FromStr for VolumeArg {
    type Err = VolumeArgError;

    fn from_str(text: &str) -> Result<Self, VolumeArgError> {
        let parts: Vec<&str> = text.split(':').collect();
        if parts[0].starts_with('/') {
            return Err(VolumeArgError::HostFolder {
                path: parts[0].to_owned(),
            });
        }
        let name = VolumeName::new(parts[0])?;
        let Some(at) = parts.iter().position(|part| part.starts_with('/')) else {
            return Err(without_path(&parts));
        };
        let (before, after) = (&parts[1..at], &parts[at + 1..]);
        let (size, class) = match before {
            [] => (None, None),
            [size] => (Some(read_size(&name, size)?), None),
            [size, class] => (Some(read_size(&name, size)?), Some(ClassName::new(*class)?)),
            _ => {
                return Err(VolumeArgError::TooManyParts {
                    text: text.to_owned(),
                });
            }
        };
        let path = check_path(parts[at])?;
        let read_only = read_options(after)?;
        Ok(Self(TaskVolumeRequest {
            name,
            size,
            class,
            path,
            read_only,
        }))
    }
}

/// Finds what was meant as the path: the last part, unless that can be nothing but a size.
fn without_path(parts: &[&str]) -> VolumeArgError {
    let looks_like_option = |part: &str| matches!(part, "ro" | "rw");
    let rest = &parts[1..];
    let rest = match rest.split_last() {
        Some((last, before)) if looks_like_option(last) => before,
        Some(_) | None => rest,
    };
    match rest.last() {
        Some(path) if !path.is_empty() && path.parse::<Bytes>().is_err() => {
            VolumeArgError::RelativePath {
                path: (*path).to_owned(),
            }
        }
        Some(_) | None => VolumeArgError::NoPath {
            name: parts[0].to_owned(),
        },
    }
}

fn read_size(name: &VolumeName, text: &str) -> Result<Bytes, VolumeArgError> {
    text.parse::<Bytes>()
        .and_then(Bytes::checked_volume_size)
        .map_err(|source| VolumeArgError::Size {
            name: name.clone(),
            source,
        })
}

fn check_path(path: &str) -> Result<String, VolumeArgError> {
    let bad = |fault| VolumeArgError::BadPath {
        path: path.to_owned(),
        fault,
    };
    if path.split('/').all(str::is_empty) {
        return Err(bad("would hide the whole container; give a folder in it"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(bad("has a `..`; write it without"));
    }
    if path.chars().any(char::is_control) {
        return Err(bad("has a control character"));
    }
    Ok(path.to_owned())
}

fn read_options(options: &[&str]) -> Result<bool, VolumeArgError> {
    match options {
        [] | ["rw"] => Ok(false),
        ["ro"] => Ok(true),
        [option] => Err(VolumeArgError::UnknownOption {
            option: (*option).to_owned(),
        }),
        _ => Err(VolumeArgError::TwoOptions),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> TaskVolumeRequest {
        text.parse::<VolumeArg>()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .0
    }

    #[test]
    fn each_form_is_read() {
        let plain = read("data:/data");
        assert_eq!(
            (plain.name.as_str(), plain.path.as_str()),
            ("data", "/data")
        );
        assert_eq!(
            (plain.size, plain.class.is_none(), plain.read_only),
            (None, true, false)
        );
        assert_eq!(read("data:10G:/data").size, Some(Bytes(10 << 30)));
        let full = read("data:512MiB:local-xfs:/var/lib/db:ro");
        assert_eq!(full.size, Some(Bytes::mib(512)));
        assert_eq!(full.class.expect("a class").as_str(), "local-xfs");
        assert_eq!((full.path.as_str(), full.read_only), ("/var/lib/db", true));
        assert!(!read("data:/data:rw").read_only);
    }

    #[test]
    fn each_fault_is_named() {
        for (text, fault) in [
            ("", "volume name is empty"),
            (":/data", "volume name is empty"),
            ("/srv:/data", "\"/srv\" is a folder on the host"),
            ("data", "volume \"data\" has no path"),
            ("data:10G", "volume \"data\" has no path"),
            ("data:10G:", "has no path"),
            ("data:ro", "has no path"),
            ("data:data", "path \"data\" is relative"),
            ("data:10G:data", "path \"data\" is relative"),
            ("data:10G:data:ro", "path \"data\" is relative"),
            ("data:./x", "path \"./x\" is relative"),
            ("a b:/data", "the character ' '"),
            ("data:0:/data", "volume data: size is 0"),
            ("data:-1G:/data", "volume data: size \"-1G\" is negative"),
            ("data::/data", "volume data: size is empty"),
            (
                "data:10X:/data",
                "volume data: size \"10X\" is not a number",
            ),
            ("data:1G::/data", "class name is empty"),
            ("data:1G:a+b:/data", "class name \"a+b\""),
            ("data:1G:c:d:/data", "too many parts before the path"),
            ("data:/", "would hide the whole container"),
            ("data:///", "would hide the whole container"),
            ("data:/a/../b", "has a `..`"),
            ("data:/a\u{7}b", "control character"),
            ("data:/data:rx", "unknown option \"rx\""),
            ("data:/data:", "unknown option \"\""),
            ("data:/data:ro:rw", "more than one option"),
        ] {
            let error = text.parse::<VolumeArg>().expect_err(text).to_string();
            assert!(error.contains(fault), "{text:?}: {error}");
        }
        let long = format!("{}:/data", "x".repeat(300));
        let error = long.parse::<VolumeArg>().expect_err("too long").to_string();
        assert!(error.contains("300 bytes"), "{error}");
    }
}
