//! Failures of images and containers as problems: what, who said so, the raw text, what next.

use sutler_ids::{ErrorKind, Problem, SaidBy};
use sutler_images::{ImageError, ImageErrorKind, ImageReference};
use sutler_runtime::{StartError, StartFailure};
use sutler_telemetry::chain;

/// An image that is not there, with what helps.
fn absent(what: String, reference: &ImageReference) -> Problem {
    Problem::new(ErrorKind::NotFound, what).hint(match reference {
        ImageReference::Registry(_) => "check the reference; list its tags at the registry",
        ImageReference::OciLayout { .. }
        | ImageReference::OciArchive { .. }
        | ImageReference::DockerArchive { .. }
        | ImageReference::Archive { .. } => {
            "check the path: it is one of the node where the container runs"
        }
    })
}

/// Tells why an image could not be had for `owner` (`task x`, `plugin y`).
pub(crate) fn of_image(owner: &str, reference: &ImageReference, error: &ImageError) -> Problem {
    let cause = chain(error);
    let what = |text: &str| format!("image {reference} of {owner} {text}");
    let problem = match error.kind() {
        ImageErrorKind::Absent => absent(what("does not exist"), reference),
        ImageErrorKind::Unauthorised => {
            Problem::new(ErrorKind::Unauthorized, what("may not be pulled by us"))
                .hint("log in on this host with docker login or podman login as root, then again")
        }
        ImageErrorKind::Unreachable => {
            Problem::new(ErrorKind::Unavailable, what("cannot be pulled now"))
                .hint("check the registry's address and the network, then try again")
        }
        ImageErrorKind::WrongPlatform => Problem::new(
            ErrorKind::Invalid,
            what(&format!(
                "is not for this host ({})",
                std::env::consts::ARCH
            )),
        )
        .hint("use an image that has this architecture"),
        ImageErrorKind::Refused => Problem::new(ErrorKind::Invalid, what("was refused"))
            .hint("the image is damaged or hostile; get it from its publisher again"),
        ImageErrorKind::Unsupported => {
            Problem::new(ErrorKind::Invalid, what("is of a kind that we cannot run")).hint(
                "this version cannot unpack it; it takes images of OCI and of Docker's schema 2 \
                 with layers as tar, plain, gzip or zstd",
            )
        }
        ImageErrorKind::Credentials => Problem::new(
            ErrorKind::Unauthorized,
            what("needs a login, and the credentials on this host cannot be used"),
        )
        .hint(credentials_hint(error)),
        ImageErrorKind::Address => Problem::new(
            ErrorKind::Invalid,
            what("names a registry without an address"),
        )
        .hint("check the registry's name in the reference"),
        ImageErrorKind::Client => Problem::new(
            ErrorKind::Unavailable,
            what("cannot be pulled from this host"),
        )
        .hint("install CA certificates on it: the package ca-certificates"),
        ImageErrorKind::Stopping => Problem::new(
            ErrorKind::Unavailable,
            what("was not pulled: the agent is stopping"),
        )
        .hint("try again when it runs"),
        ImageErrorKind::Local => {
            Problem::new(ErrorKind::Internal, what("cannot be kept on this host"))
                .said_by(SaidBy::Kernel)
                .hint("check space and health of the disk under the state directory: df -h")
        }
    };
    let problem = said_by_registry(problem, reference, error.kind());
    match error.raw() {
        Some(raw) if !cause.contains(raw) => problem.raw(format!("{cause}\n{raw}")),
        Some(_) | None => problem.raw(cause),
    }
}

/// Some failures are the registry's own words.
fn said_by_registry(problem: Problem, reference: &ImageReference, kind: ImageErrorKind) -> Problem {
    let by_registry = matches!(
        kind,
        ImageErrorKind::Absent | ImageErrorKind::Unauthorised | ImageErrorKind::Unreachable
    );
    match reference {
        ImageReference::Registry(at) if by_registry => {
            problem.said_by(SaidBy::Registry(at.registry().to_owned()))
        }
        ImageReference::Registry(_)
        | ImageReference::OciLayout { .. }
        | ImageReference::OciArchive { .. }
        | ImageReference::DockerArchive { .. }
        | ImageReference::Archive { .. } => problem,
    }
}

fn credentials_hint(error: &ImageError) -> String {
    let file = match error {
        ImageError::Auth { source, .. } => source.path().display().to_string(),
        ImageError::Registry { .. }
        | ImageError::Local { .. }
        | ImageError::Manifest { .. }
        | ImageError::WrongDigest { .. }
        | ImageError::WrongSize { .. }
        | ImageError::Download { .. }
        | ImageError::Layer { .. }
        | ImageError::Store { .. }
        | ImageError::Stopping { .. } => "the auth file".into(),
    };
    format!("repair or remove {file}; it is needed only for registries that ask for a login")
}

/// Tells that an image reference cannot be read.
pub(crate) fn of_reference(owner: &str, text: &str, cause: String) -> Problem {
    Problem::new(
        ErrorKind::Invalid,
        format!("image {text:?} of {owner} is not a reference"),
    )
    .raw(cause)
    .hint("write for example busybox:1, host:5000/name:tag or oci:/path")
}

/// Tells why a container could not be started.
pub(crate) fn of_start(owner: &str, error: &StartError) -> Problem {
    match error {
        StartError::Failed(failure) => of_start_failure(owner, failure),
        StartError::ResolveUser { user: name, .. } => Problem::new(
            ErrorKind::Invalid,
            format!("the image of {owner} names the user {name:?}, which it does not have"),
        )
        .raw(chain(error)),
        StartError::InvalidSpec { .. } => Problem::new(
            ErrorKind::Invalid,
            format!("{owner} cannot be run as asked"),
        )
        .raw(chain(error)),
        StartError::AlreadyExists { .. }
        | StartError::ReadHost { .. }
        | StartError::PrepareFolder { .. }
        | StartError::SpawnShim { .. }
        | StartError::ShimDied { .. } => {
            Problem::new(ErrorKind::Internal, format!("{owner} could not be started"))
                .raw(chain(error))
                .hint("check space and health of the disk under the state directory: df -h")
        }
    }
}

/// Tells what the runtime or kernel said of a container at its start.
pub(crate) fn of_start_failure(owner: &str, failure: &StartFailure) -> Problem {
    match failure {
        StartFailure::CommandNotFound { command, raw } => Problem::new(
            ErrorKind::NotFound,
            format!("command {command:?} of {owner} is not in its image"),
        )
        .said_by(SaidBy::Runtime)
        .raw(raw)
        .hint("check the command's spelling and its path inside the image"),
        StartFailure::PermissionDenied { command, raw } => Problem::new(
            ErrorKind::Invalid,
            format!("command {command:?} of {owner} is not executable"),
        )
        .said_by(SaidBy::Runtime)
        .raw(raw)
        .hint("make it executable in the image, or run it with its interpreter"),
        StartFailure::ExecFormat { command, raw } => Problem::new(
            ErrorKind::Invalid,
            format!(
                "command {command:?} of {owner} is not a program for this host ({})",
                std::env::consts::ARCH
            ),
        )
        .said_by(SaidBy::Kernel)
        .raw(raw)
        .hint("use an image for this architecture; a script needs its #! line"),
        StartFailure::MountSource { path, raw } => Problem::new(
            ErrorKind::NotFound,
            format!("{} cannot be mounted into {owner}", path.display()),
        )
        .said_by(SaidBy::Runtime)
        .raw(raw)
        .hint("make it on this host, or take it out of the definition"),
        StartFailure::Runtime { raw } => Problem::new(
            ErrorKind::Internal,
            format!("the runtime could not start {owner}"),
        )
        .said_by(SaidBy::Runtime)
        .raw(raw),
    }
}

/// Tells that an act of ours on a container failed and will be repeated.
pub(crate) fn of_act(owner: &str, act: &str, cause: String) -> Problem {
    Problem::new(
        ErrorKind::Unavailable,
        format!("{owner} could not be {act} yet"),
    )
    .raw(cause)
    .hint("nothing to do: it is tried again by itself")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sutler_images::{AuthError, LocalError, RegistryError};

    fn problem(error: &ImageError) -> Problem {
        let reference = "reg.example/app:1".parse().expect("a reference");
        of_image("task t", &reference, error)
    }

    fn reference() -> Box<ImageReference> {
        Box::new("reg.example/app:1".parse().expect("a reference"))
    }

    #[test]
    fn the_disk_is_blamed_for_the_disk_alone() {
        let refusal = Box::new(RegistryError::Unauthorised {
            registry: "reg.example".into(),
            repository: "app".into(),
            identity: "asked without a credential".into(),
            raw: "who are you".into(),
        });
        let source = AuthError::RunHelper {
            path: "home/.docker/config.json".into(),
            name: "desktop.exe".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let auth = ImageError::Auth {
            reference: reference(),
            source,
            refusal,
        };
        let address = RegistryError::Address {
            registry: "reg.example".into(),
        };
        let address = ImageError::Registry {
            reference: reference(),
            source: address,
        };
        let stopping = ImageError::Stopping {
            reference: reference(),
        };
        for error in [&auth, &address, &stopping] {
            let problem = problem(error);
            assert_eq!(problem.said_by, SaidBy::Sutler, "{problem:?}");
            assert!(!format!("{problem:?}").contains("df -h"), "{problem:?}");
        }
        let shown = problem(&auth);
        assert_eq!(shown.kind, ErrorKind::Unauthorized);
        let raw = shown.raw.expect("the cause");
        assert!(raw.contains("docker-credential-desktop.exe"), "{raw}");
        assert!(raw.contains("who are you"), "{raw}");
        let hint = shown.hint.expect("what to do");
        assert!(hint.contains("home/.docker/config.json"), "{hint}");
    }

    #[test]
    fn what_is_merely_unsupported_is_not_called_hostile() {
        let unsupported = ImageError::Local {
            reference: reference(),
            source: LocalError::NotAnImage {
                path: "/x.tar".into(),
                missing: "manifest.json".into(),
            },
        };
        let shown = problem(&unsupported);
        let hint = shown.hint.expect("what to do");
        assert!(hint.contains("this version cannot unpack"), "{hint}");
        assert!(!hint.contains("hostile"), "{hint}");
    }
}
