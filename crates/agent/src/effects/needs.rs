//! What a plugin's definition says that the host must have.

use std::path::Path;
use std::process::{Command, Stdio};

use sutler_ids::PluginName;
use sutler_ids::{ErrorKind, Problem};

/// Checks every need, loading kernel modules where that is the need. Blocks.
pub(crate) fn check_needs(plugin: &PluginName, needs: &[String]) -> Result<(), Problem> {
    needs.iter().try_for_each(|need| check_need(plugin, need))
}

fn check_need(plugin: &PluginName, need: &str) -> Result<(), Problem> {
    let device = |module: &str, path: &str| {
        if !Path::new(path).exists() {
            load(module);
        }
        exists(plugin, need, path, &format!("modprobe {module}"))
    };
    match need.split_once(':') {
        None if need == "loop" => device("loop", "/dev/loop-control"),
        None if need == "fuse" => device("fuse", "/dev/fuse"),
        Some(("path", path)) => exists(plugin, need, path, &format!("ls -l {path}")),
        Some(("module", module)) => {
            let loaded = format!("/sys/module/{}", module.replace('-', "_"));
            if !Path::new(&loaded).exists() {
                load(module);
            }
            exists(plugin, need, &loaded, &format!("modprobe {module}"))
        }
        Some(_) | None => Err(missing(
            plugin,
            need,
            "is not a need that this version knows",
        )),
    }
}

fn exists(plugin: &PluginName, need: &str, path: &str, hint: &str) -> Result<(), Problem> {
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(missing(plugin, need, &format!("{path} does not exist on this host")).hint(hint))
}

fn missing(plugin: &PluginName, need: &str, raw: &str) -> Problem {
    let what = format!("plugin {plugin} needs {need:?}, which this host does not have");
    Problem::new(ErrorKind::Unavailable, what).raw(raw)
}

fn load(module: &str) {
    // Whether it helped is seen by the look that follows.
    let _ = Command::new("modprobe")
        .args(["--", module])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_need_is_named() {
        let plugin = PluginName::new("p").expect("a name");
        assert_eq!(check_needs(&plugin, &["path:/proc".to_owned()]), Ok(()));
        for need in ["path:/nowhere", "module:no-such-module"] {
            let problem = check_needs(&plugin, &[need.to_owned()]).unwrap_err();
            assert!(problem.what.contains(need), "{}", problem.what);
            assert!(
                problem
                    .raw
                    .is_some_and(|raw| raw.contains("does not exist"))
            );
        }
    }
}
