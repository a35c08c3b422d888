//! The crash matrix: a whole volume's life, with death at every failpoint.
//!
//! The failpoints are not listed here: a life with tracing on tells them, so a new durable
//! write or outside call is a new row by itself. Each row is lived through with the owner of
//! the failpoint killed there, and, for the agent's, once more with the plugin killed while
//! the agent stands still at it. After each, the same life is finished by asking again, data
//! is read back, and the oracle holds the world against the ten invariants.
//!
//! Writes the table to `target/crash-matrix.md`. `SUTLER_CRASH_ONLY=TEXT` keeps the rows
//! whose name contains TEXT.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sutler_testkit::oracle::Oracle;
use sutler_testkit::poll;
use sutler_testkit::world::{Shape, World, WorldConfig, items};

/// A wait that only a hung cluster reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// Times that one wish may fail before the cell fails: one death, and what it drags along.
const TRIES_MAX: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Victim {
    Agent,
    Master,
    Plugin,
    /// The shim of a task, which the agent starts with its own failpoint.
    Shim,
}

impl Victim {
    fn name(self) -> &'static str {
        match self {
            Victim::Agent => "agent",
            Victim::Master => "master",
            Victim::Plugin => "plugin",
            Victim::Shim => "shim",
        }
    }
}

struct Cell {
    failpoint: String,
    victim: Victim,
    outcome: Result<bool>,
    took: Duration,
}

struct Matrix {
    world: World,
    oracle: Oracle,
    serial: usize,
    /// Where a process has to be watched, and whether it was already dealt with.
    armed: Option<(Victim, bool)>,
}

/// Worlds at once: a cell waits more than it works, and two fit on two cores.
const LANES: usize = 2;

#[test]
fn death_at_every_failpoint_breaks_no_invariant() {
    let mut first = Matrix::up();
    let rows = first
        .trace()
        .expect("a life without deaths is lived through");
    let rows = Mutex::new(rows.into_iter());
    let mut cells: Vec<Cell> = std::thread::scope(|scope| {
        let rows = &rows;
        let others = (1..LANES).map(|_| scope.spawn(|| Matrix::up().lane(rows)));
        let others: Vec<_> = others.collect();
        let mut cells = first.lane(rows);
        for other in others {
            cells.extend(other.join().expect("a lane tells its failures"));
        }
        cells
    });
    cells.sort_by(|a, b| (&a.failpoint, a.victim).cmp(&(&b.failpoint, b.victim)));
    let table = table(&cells);
    println!("{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/crash-matrix.md");
    fs::write(path, &table).expect("target is writable");
    let failed = cells.iter().filter(|cell| cell.outcome.is_err()).count();
    assert_eq!(failed, 0, "{failed} of {} cells failed", cells.len());
    let reached = cells
        .iter()
        .filter(|cell| matches!(cell.outcome, Ok(true)))
        .count();
    assert!(
        reached * 10 >= cells.len() * 9,
        "only {reached} of {} cells died",
        cells.len()
    );
}

impl Matrix {
    fn up() -> Self {
        let config = WorldConfig::new(env!("CARGO_BIN_EXE_sutler")).shape(Shape::Split(1));
        Self {
            world: World::up(config).expect("a cluster of one agent comes up"),
            oracle: Oracle::default(),
            serial: 0,
            armed: None,
        }
    }

    /// Lives through rows until none is left.
    fn lane(&mut self, rows: &Mutex<std::vec::IntoIter<(String, Victim)>>) -> Vec<Cell> {
        let mut cells = Vec::new();
        let next = || rows.lock().expect("nothing panics with it").next();
        while let Some((failpoint, victim)) = next() {
            let began = Instant::now();
            let outcome = self.cell(&failpoint, victim);
            if let Err(error) = &outcome {
                eprintln!("FAILED {failpoint}, {} killed: {error:#}", victim.name());
                eprintln!("{}", self.world.said());
            }
            let took = began.elapsed();
            let seconds = took.as_secs_f64();
            eprintln!("{seconds:>6.1} s  {failpoint}, {} killed", victim.name());
            cells.push(Cell {
                failpoint,
                victim,
                outcome,
                took,
            });
        }
        cells
    }

    /// Lives a life with tracing on and gives the rows.
    fn trace(&mut self) -> Result<Vec<(String, Victim)>> {
        let mut rows = Vec::new();
        let traces = [("master", Victim::Master), ("agent", Victim::Agent)]
            .map(|(name, victim)| (self.world.root().join(format!("{name}.trace")), victim));
        for (path, victim) in &traces {
            self.restart(*victim, &[("SUTLER_FAILPOINT_TRACE", path.to_str())])?;
        }
        self.life()?;
        let only = std::env::var("SUTLER_CRASH_ONLY").unwrap_or_default();
        for (path, victim) in traces {
            self.restart(victim, &[("SUTLER_FAILPOINT_TRACE", None)])?;
            let names: BTreeSet<String> = fs::read_to_string(&path)?
                .lines()
                .map(str::to_owned)
                .collect();
            ensure!(
                names.len() > 8,
                "{} failpoints only of the {}",
                names.len(),
                victim.name()
            );
            for name in names.into_iter().filter(|name| name.contains(&only)) {
                if victim == Victim::Agent && name.starts_with("agent.") {
                    rows.push((name.clone(), Victim::Plugin));
                }
                let victim = match name.starts_with("shim.") {
                    true => Victim::Shim,
                    false => victim,
                };
                rows.push((name, victim));
            }
        }
        rows.sort();
        Ok(rows)
    }

    /// Lives one life with one death; tells whether the death came.
    fn cell(&mut self, failpoint: &str, victim: Victim) -> Result<bool> {
        let owner = match victim {
            Victim::Plugin | Victim::Shim => Victim::Agent,
            Victim::Agent | Victim::Master => victim,
        };
        let action = (victim == Victim::Plugin).then_some("stop");
        self.armed = Some((victim, false));
        self.restart(
            owner,
            &[
                ("SUTLER_FAILPOINT", Some(failpoint)),
                ("SUTLER_FAILPOINT_ACTION", action),
            ],
        )?;
        let lived = self.life();
        let died = self.armed.take().is_some_and(|(_, died)| died);
        self.restart(
            owner,
            &[
                ("SUTLER_FAILPOINT", None),
                ("SUTLER_FAILPOINT_ACTION", None),
            ],
        )?;
        lived?;
        self.at_rest()?;
        Ok(died)
    }

    fn restart(&mut self, who: Victim, env: &[(&str, Option<&str>)]) -> Result<()> {
        let daemon = match who {
            Victim::Master => self.world.master(),
            Victim::Agent | Victim::Plugin | Victim::Shim => self.world.agent(0),
        };
        daemon.kill();
        for (name, value) in env {
            daemon.set_env(name, *value);
        }
        daemon.start()
    }

    /// Looks after the armed process: one that died is started again unarmed, and one that
    /// stands still gets its plugin killed and goes on. Tells whether that was now.
    fn attend(&mut self) -> Result<bool> {
        let Some((victim, false)) = self.armed else {
            return Ok(false);
        };
        match victim {
            Victim::Shim => return Ok(false),
            Victim::Agent | Victim::Master => {
                let daemon = match victim {
                    Victim::Master => self.world.master(),
                    Victim::Agent | Victim::Plugin | Victim::Shim => self.world.agent(0),
                };
                if daemon.ensure_running().is_ok() {
                    return Ok(false);
                }
                self.armed = Some((victim, true));
                self.restart(victim, &[("SUTLER_FAILPOINT", None)])?;
            }
            Victim::Plugin => {
                let pid = self.world.agent(0).pid().context("the agent was started")?;
                if !stands_still(pid) {
                    return Ok(false);
                }
                if let Some(init) = self.world.plugin_container("local")?.init {
                    signal(init, rustix::process::Signal::KILL)?;
                }
                self.armed = Some((victim, true));
                signal(pid, rustix::process::Signal::CONT)?;
            }
        }
        Ok(true)
    }

    /// Asks for something until it is so, whatever dies on the way.
    fn until_so(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&World) -> Result<()>,
        mut so: impl FnMut(&World) -> Result<bool>,
    ) -> Result<()> {
        let mut must_ask = true;
        poll::until(what, PATIENCE, || {
            must_ask |= self.attend()?;
            if matches!(so(&self.world), Ok(true)) {
                return Ok(());
            }
            if must_ask {
                ask(&self.world)?;
                must_ask = false;
            }
            bail!(
                "not so: {}",
                so(&self.world).map_or_else(|e| format!("{e:#}"), |_| String::new())
            )
        })
    }

    /// Create, publish and write, unpublish, publish and read, unpublish, delete.
    fn life(&mut self) -> Result<()> {
        self.serial += 1;
        let n = self.serial;
        let volume = format!("v{n}");
        let create = [
            "volume",
            "create",
            &volume,
            "--class",
            "local",
            "--size",
            "8M",
            "--no-wait",
        ];
        self.until_so(
            "the volume is there",
            |world| absent_or(world, &volume, || asked(world, &create)),
            |world| Ok(world.volume(&volume)?["state"] == "ready"),
        )?;
        let text = format!("cell-{n}");
        self.task(
            &volume,
            &format!("w{n}"),
            &format!("echo {text} > /data/f && sync"),
        )?;
        self.task(
            &volume,
            &format!("r{n}"),
            &format!("grep -qx {text} /data/f"),
        )?;
        let remove = ["volume", "rm", &volume, "--purge", "--no-wait"];
        self.until_so(
            "the volume is gone",
            |world| asked(world, &remove),
            |world| {
                let listed = world.json(&["volume", "ls"])?;
                Ok(!items(&listed)
                    .iter()
                    .any(|entry| entry["name"] == volume.as_str()))
            },
        )
    }

    /// Runs a command on the volume until one run of it has ended well. A run whose start a
    /// death made doubtful is never started twice: it fails, and another is asked for.
    fn task(&mut self, volume: &str, task: &str, script: &str) -> Result<()> {
        let image = self.world.image("busybox");
        let mount = format!("{volume}:/data");
        for attempt in 0..TRIES_MAX {
            let name = format!("{task}-{attempt}");
            let run = [
                "run",
                "-d",
                "--no-wait",
                "--name",
                &name,
                "-v",
                &mount,
                &image,
                "--",
                "sh",
                "-c",
                script,
            ];
            let mut ended = None;
            self.until_so(
                "the task has ended",
                |world| match world.json(&["task", "show", &name]) {
                    Ok(_) => Ok(()),
                    Err(_) => asked(world, &run),
                },
                |world| {
                    let shown = world.json(&["task", "show", &name])?;
                    let state = shown["state"].as_str().unwrap_or_default().to_owned();
                    let over = ["finished", "failed", "killed"].contains(&state.as_str());
                    ended = Some((state, shown));
                    Ok(over)
                },
            )?;
            let (state, shown) = ended.context("it was seen")?;
            if state == "finished" {
                return Ok(());
            }
            if let Some((Victim::Shim, died)) = &mut self.armed {
                *died = true;
                self.restart(Victim::Agent, &[("SUTLER_FAILPOINT", None)])?;
            }
            // The reader that ran and did not find the text has lost data.
            ensure!(
                shown["exit"]["code"].is_null(),
                "task {name} ended with {shown}"
            );
        }
        bail!("no run of {task} ended well")
    }

    fn at_rest(&mut self) -> Result<()> {
        self.world.wait_class("local", 1)?;
        let mut seen = Vec::new();
        let rest = poll::until("the oracle is content", PATIENCE, || {
            match self.oracle.look(&self.world) {
                Ok(violations) if violations.is_empty() => Ok(()),
                Ok(violations) => {
                    seen = violations.iter().map(ToString::to_string).collect();
                    Err(seen.join("; "))
                }
                Err(error) => Err(format!("{error:#}")),
            }
        });
        rest.with_context(|| seen.join("\n"))
    }
}

fn absent_or(world: &World, volume: &str, ask: impl FnOnce() -> Result<()>) -> Result<()> {
    match world.volume(volume) {
        Ok(_) => Ok(()),
        Err(_) => ask(),
    }
}

fn asked(world: &World, args: &[&str]) -> Result<()> {
    let told = world.sutler_within(PATIENCE, args);
    ensure!(told.code == Some(0), "{told}");
    Ok(())
}

/// Whether a process is stopped, from its state in proc(5).
fn stands_still(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| rest.starts_with('T'))
}

fn signal(pid: i32, signal: rustix::process::Signal) -> Result<()> {
    let pid = rustix::process::Pid::from_raw(pid).context("a process id is positive")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

fn table(cells: &[Cell]) -> String {
    let mut text = String::from("| failpoint | killed | died there | invariants | s |\n");
    text.push_str("|---|---|---|---|---|\n");
    for cell in cells {
        let (died, held) = match &cell.outcome {
            Ok(true) => ("yes", "hold"),
            // The end of a shim that has kept its exit record changes nothing to be seen.
            Ok(false) if cell.victim == Victim::Shim => ("unseen", "hold"),
            Ok(false) => ("not reached", "hold"),
            Err(_) => ("-", "BROKEN"),
        };
        let victim = cell.victim.name();
        let took = cell.took.as_secs_f64();
        let _ = writeln!(
            text,
            "| `{}` | {victim} | {died} | {held} | {took:.1} |",
            cell.failpoint
        );
    }
    let passed = cells.iter().filter(|cell| cell.outcome.is_ok()).count();
    let _ = writeln!(text, "\n{passed} of {} cells passed.", cells.len());
    text
}
