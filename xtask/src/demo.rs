//! `cargo xtask demo`: the main job, step by step, on a cluster of its own that is gone after.

use anyhow::{Context, Result, ensure};
use sutler_testkit::host;
use sutler_testkit::world::{COMMAND_WITHIN, Shape, World, WorldConfig};

use crate::places::{self, Profile};
use crate::steps::{Steps, shown};
use crate::{pack, setup};

/// What the first task writes. The second task reads it back from the volume.
const WRITE: &str = "echo \"hello from $(hostname), written by a task\" > /data/hello.txt; sync";

/// Does the main job once.
///
/// # Errors
/// A step failed: it is the last one printed, and the text says why.
pub fn run(split: bool) -> Result<()> {
    setup::require_root("demo")?;
    let build = Steps::default();
    build.step("build sutler, pack its images", || {
        pack::pack_for_demo(Profile::Dev, &[])
    })?;
    println!();
    let shape = if split { Shape::Split(1) } else { Shape::Up };
    let mut config = WorldConfig::new(Profile::Dev.folder().join("sutler")).shape(shape);
    config.images = places::images();
    let mut world = World::stopped(config)?;
    let root = world.root().to_owned();
    let steps = Steps::default();
    let content = main_job(&mut world, &steps);
    steps.step("stop all of it and clean up", || {
        drop(world);
        let left = host::mounts_under(&root);
        ensure!(left.is_empty() && !root.exists(), "left behind: {left:?}");
        Ok(())
    })?;
    println!(
        "\n/data/hello.txt on volume `hello` said:\n  {}",
        content?.trim_end()
    );
    Ok(())
}

fn main_job(world: &mut World, steps: &Steps) -> Result<String> {
    let up = match world.agent_state_dirs().as_slice() {
        [only] if only == world.state_dir() => "sutler up",
        _others => "sutler master; sutler agent --join join.json",
    };
    steps.step(up, || {
        world.start_all()?;
        world.wait_connected()
    })?;
    steps.step("plugin `local` comes up from its image", || {
        world.wait_ready()
    })?;
    let image = world.image("busybox");
    let sutler = |told: &str, args: &[&str]| {
        steps.step(&format!("sutler {told}"), || {
            let told = world.sutler_within(COMMAND_WITHIN, args);
            ensure!(told.code == Some(0), "{told}");
            Ok(told.stdout)
        })
    };
    sutler(
        "volume create hello --class local --size 64M",
        &[
            "volume", "create", "hello", "--class", "local", "--size", "64M",
        ],
    )?;
    sutler(
        "run -v hello:/data busybox -- sh -c 'echo … > /data/…'",
        &[
            "run",
            "--name",
            "writer",
            "-v",
            "hello:/data",
            &image,
            "--",
            "sh",
            "-c",
            WRITE,
        ],
    )?;
    println!(
        "  first file on a volume {} after the start",
        shown(steps.elapsed())
    );
    let content = sutler(
        "run -v hello:/data:ro busybox -- cat /data/hello.txt",
        &[
            "run",
            "-v",
            "hello:/data:ro",
            &image,
            "--",
            "cat",
            "/data/hello.txt",
        ],
    )?;
    let wanted = "written by a task";
    ensure!(content.contains(wanted), "the second task read {content:?}");
    sutler(
        "volume rm hello --purge",
        &["volume", "rm", "hello", "--purge"],
    )?;
    steps.step("the plugin lists no volume any more", || {
        let left = sutler_testkit::oracle::volumes_of(world, "local").context("ask the plugin")?;
        ensure!(left.is_empty(), "it lists {left:?}");
        Ok(())
    })?;
    Ok(content)
}
