//! One life of the power-cut guest, told from inside: recover, show everything, then make, fill
//! and delete volumes until somebody cuts the power. Runs as root of a machine of its own, on
//! the disk that earlier lives have left.
//!
//! Each line starts with `LAB`; what it says goes out before the next thing is asked for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sutler_testkit::oracle::Oracle;
use sutler_testkit::poll;
use sutler_testkit::world::{World, WorldConfig, items};

use xtask::places::{self, Profile};

/// The world's folder, the same in every life.
const ROOT: &str = "/tmp/st-lab";

/// Longest time until every call that was open at the cut has ended well.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// States that a volume at rest may be in.
const SETTLED: [&str; 3] = ["ready", "trashed", "failed"];

/// Most rounds of a life that nobody cuts.
const ROUNDS_MAX: usize = 20;

/// Every so many rounds a volume is deleted.
const DELETE_EVERY: usize = 3;

/// Shows each volume's file, or that it has none.
const READ: &str = "for v in /v/*; do read -r x < $v/f || x=-; echo ${v#/v/} $x; done 2>/dev/null";

/// Lives one life; `number` makes its volumes' names its own. The last one only looks.
///
/// # Errors
/// The world does not come up again, or something is refused that should work.
pub fn live(number: usize, last: bool) -> Result<()> {
    let config = WorldConfig {
        images: places::images(),
        ..WorldConfig::new(Profile::Dev.folder().join("sutler")).at(Path::new(ROOT))
    };
    let mut world = World::stopped(config)?;
    tell("begun");
    world.start_all()?;
    tell("started");
    world.wait_ready().with_context(|| world.said())?;
    tell("ready");
    show(&world).with_context(|| world.said())?;
    tell("checked");
    if last {
        return Ok(());
    }
    for round in 1..=ROUNDS_MAX {
        work(
            &world,
            &format!("v{number}-{round}"),
            round % DELETE_EVERY == 0,
        )?;
    }
    tell("idle");
    Ok(())
}

/// Waits until all is at rest, then tells every broken invariant and every volume.
fn show(world: &World) -> Result<()> {
    let books = poll::until("every volume and task is at rest", SETTLED_WITHIN, || {
        let books = world.json(&["volume", "ls"])?;
        let open: Vec<_> = items(&books)
            .iter()
            .filter(|v| !is_settled(&v["state"]))
            .collect();
        ensure!(open.is_empty(), "{open:?}");
        let tasks = world.json(&["task", "ls"])?;
        let running = items(&tasks)
            .iter()
            .filter(|task| !is_ended(&task["state"]));
        let running: Vec<_> = running.collect();
        ensure!(running.is_empty(), "{running:?}");
        Ok(books)
    })?;
    for violation in Oracle::default().look(world)? {
        tell(&format!("violation {violation}"));
    }
    let state_of = |name: &str| {
        let mut books = items(&books).iter();
        let volume = books.find(|volume| volume["name"] == name);
        volume
            .and_then(|v| v["state"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let names = items(&books)
        .iter()
        .filter_map(|volume| volume["name"].as_str());
    let (ready, other): (Vec<&str>, Vec<&str>) = names.partition(|name| state_of(name) == "ready");
    for name in other {
        tell(&format!("volume {name} {} -", state_of(name)));
    }
    if !ready.is_empty() {
        for line in read(world, &ready).lines() {
            let (name, content) = line.split_once(' ').context("a name and a content")?;
            tell(&format!("volume {name} ready {content}"));
        }
    }
    Ok(())
}

/// Reads all volumes in one task.
fn read(world: &World, names: &[&str]) -> String {
    let image = world.image("busybox");
    let volumes: Vec<String> = names
        .iter()
        .map(|name| format!("{name}:/v/{name}:ro"))
        .collect();
    let mut args = vec!["run"];
    for volume in &volumes {
        args.extend(["-v", volume]);
    }
    args.extend([image.as_str(), "--", "sh", "-c", READ]);
    world.ok(&args)
}

/// Makes a volume, writes its name into it, and deletes it if told to.
fn work(world: &World, name: &str, delete: bool) -> Result<()> {
    tell(&format!("asked {name}"));
    world.ok(&["volume", "create", name, "--size", "64M"]);
    tell(&format!("finished {name}"));
    let write = format!("echo {name} | dd of=/data/f conv=fsync");
    let volume = format!("{name}:/data");
    let image = world.image("busybox");
    world.ok(&["run", "-v", &volume, &image, "--", "sh", "-ec", &write]);
    tell(&format!("wrote {name}"));
    if delete {
        world.wait_volume(name, "ready", SETTLED_WITHIN)?;
        tell(&format!("deleting {name}"));
        world.ok(&["volume", "rm", name, "--purge"]);
        tell(&format!("deleted {name}"));
    }
    Ok(())
}

fn is_settled(state: &serde_json::Value) -> bool {
    state.as_str().is_some_and(|state| SETTLED.contains(&state))
}

fn is_ended(state: &serde_json::Value) -> bool {
    matches!(state.as_str(), Some("finished" | "failed" | "killed"))
}

fn tell(text: &str) {
    println!("LAB {text}");
}
