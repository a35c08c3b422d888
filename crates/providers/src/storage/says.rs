//! What a plugin's or the kernel's words mean for a volume, and how they are told on.

use std::path::Path;

use sutler_csi::{Code, CsiError, Refused, Verdict as CsiVerdict, classify};
use sutler_ids::{ErrorKind, Problem, SaidBy, VolumeId};
use sutler_volume_core::{Call, Denied, Failure, Verdict};

/// The machine keeps account of doubt itself, so every attempt is judged by itself.
pub(crate) fn verdict(error: &CsiError) -> Verdict {
    match classify(error.rpc, error, true) {
        CsiVerdict::Uncertain => Verdict::Uncertain,
        CsiVerdict::NotFound => Verdict::NotFound,
        // What is to be inverted first, the machine inverts by itself.
        CsiVerdict::Definite(refused) | CsiVerdict::InvertFirst(refused) => match refused {
            Refused::Request | Refused::Unimplemented => Verdict::Refused,
            Refused::Conflict => Verdict::AlreadyExists,
            Refused::Exhausted => Verdict::Exhausted,
            Refused::Precondition | Refused::Forbidden => Verdict::NotNow,
        },
    }
}

pub(crate) fn problem(error: &CsiError, plugin: &str, call: &Call) -> Problem {
    let kind = match verdict(error) {
        Verdict::Refused => ErrorKind::Invalid,
        Verdict::Exhausted => ErrorKind::Exhausted,
        Verdict::AlreadyExists | Verdict::NotNow => ErrorKind::Conflict,
        Verdict::NotFound => ErrorKind::NotFound,
        Verdict::Uncertain => ErrorKind::Unavailable,
    };
    let rpc = error.rpc.wire_name();
    let name = &call.spec.name;
    let what = match error.code {
        Code::Transport => format!("plugin {plugin} did not answer {rpc} for volume {name}"),
        _ => format!("plugin {plugin} refused {rpc} for volume {name}"),
    };
    let what = match verdict(error) {
        Verdict::Uncertain if error.code != Code::Transport => {
            format!("plugin {plugin} failed in {rpc} for volume {name}; its outcome is not known")
        }
        _ => what,
    };
    Problem::new(kind, what)
        .said_by(SaidBy::Plugin(plugin.to_owned()))
        .raw(format!("{}: {}", error.code, error.message))
        .hint(format!("sutler plugin logs {plugin}"))
}

pub(crate) fn no_record(volume_id: VolumeId) -> Problem {
    let what = format!("this node has no record of volume {volume_id}");
    Problem::new(ErrorKind::NotFound, what)
}

pub(crate) fn denial(denied: &Denied) -> Problem {
    match denied {
        Denied::Absent => Problem::new(ErrorKind::NotFound, "the node has no record of the volume")
            .hint(
                "nothing can be deleted without it; if it is lost: sutler volume rm NAME --forget",
            ),
        Denied::Mounted(path) => {
            Problem::new(ErrorKind::Conflict, denied.to_string()).hint(format!("umount {path}"))
        }
        Denied::MountNotKnown(_) => Problem::new(ErrorKind::Unavailable, denied.to_string())
            .hint("its file system does not answer; try again when it does"),
        Denied::Busy(_) | Denied::Exists | Denied::InUse(_) | Denied::Unable(_) => {
            Problem::new(ErrorKind::Conflict, denied.to_string())
        }
    }
}

pub(crate) fn folder_failure(error: &std::io::Error, plugin: &str) -> Failure {
    let what = format!("cannot make a folder for a volume of plugin {plugin}");
    let problem = Problem::new(ErrorKind::Unavailable, what)
        .said_by(SaidBy::Kernel)
        .raw(error.to_string());
    // Nothing was asked of the plugin, but an earlier attempt's outcome stays unknown.
    Failure {
        verdict: Verdict::Uncertain,
        problem,
    }
}

/// A deletion that was not asked for, because the volume is, or may be, mounted.
pub(crate) fn under_a_mount(call: &Call, mounted: &Denied) -> Failure {
    let problem = denial(mounted);
    let (name, mounted) = (&call.spec.name, &problem.what);
    let what = format!("DeleteVolume was not called for volume {name}: {mounted}");
    Failure {
        verdict: Verdict::NotNow,
        problem: Problem { what, ..problem }.said_by(SaidBy::Kernel),
    }
}

/// A publish that was not made, because files of the host's own disk are where it would mount.
pub(crate) fn in_the_way(call: &Call, path: &Path) -> Failure {
    let (rpc, name, path) = (call.rpc.csi_name(), &call.spec.name, path.display());
    let what = format!(
        "{rpc} was not called for volume {name}: {path} holds files of the host's own disk, which \
         a mount would hide"
    );
    Failure {
        verdict: Verdict::NotNow,
        problem: Problem::new(ErrorKind::Conflict, what)
            .said_by(SaidBy::Kernel)
            .hint(format!("look at what is in {path}, and empty it")),
    }
}
